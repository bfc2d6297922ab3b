"""A sender of AMQP 1.0 made with Qpid Proton, run by Debian's Python: it says its port, then what became of each message."""

# mypy: ignore-errors
import json
import os
import socket
import sys

from proton import Message, Url, symbol
from proton.handlers import MessagingHandler
from proton.reactor import Container


def say(**words):
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


def messages():
    yield Message(id="a", subject="plant/p1/count", body=b"1", inferred=True)  # data
    yield Message(id="b", subject="plant/p1/count", body="2")  # a text
    yield Message(id="c", subject="plant/p1", body={"count": 3, "speed": 1.5, "on": True})  # a map
    yield Message(id="d", subject="plant/p1/count", body=4)  # a number
    yield Message(id="e", address="plant/p1/count", body=b"5", inferred=True)
    yield Message(id=6, subject="nothing of ours", annotations={symbol("x-routing-key"): "plant.p1.count"}, body=6)
    yield Message(id="f", subject="plant/p1/text", body=json.dumps("x" * 900).encode(), inferred=True)  # many frames
    yield Message(id="g", subject="plant/p1/count", body=b"x" * 300_000, inferred=True)  # too many
    yield Message(id="b", subject="plant/p1/count", body="2", delivery_count=1)  # again
    yield Message(id="h", subject="plant/p1/count", body=[1, 2])  # no reading
    yield Message(subject="plant/p1/count", body=b"7", inferred=True)


class Peer(MessagingHandler):
    def __init__(self, times):
        super().__init__(auto_settle=True)
        self.left = list(messages()) * times
        self.settled = 0
        self.total = len(self.left)

    def on_start(self, event):
        self.listener = event.container.listen(Url("amqp://127.0.0.1:0"))
        with socket.socket(fileno=os.dup(self.listener._selectable.fileno())) as it:
            say(port=it.getsockname()[1])

    def on_link_opening(self, event):
        event.link.source.address = event.link.remote_source.address
        say(address=event.link.source.address, largest=event.link.remote_max_message_size)

    def on_sendable(self, event):
        while event.sender.credit and self.left:
            event.sender.send(self.left.pop(0))

    def on_accepted(self, event):
        self._told(event, "accepted")

    def on_rejected(self, event):
        self._told(event, "rejected")

    def _told(self, event, outcome):
        self.settled += 1
        say(outcome=outcome)
        if self.settled == self.total:
            say(done=True)

    def on_connection_closed(self, event):
        self.listener.close()


Container(Peer(int(sys.argv[1]))).run()
