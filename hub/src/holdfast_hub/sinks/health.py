"""How a sink does, for whoever asks; what must survive is in readings.db."""

from typing import Literal

import msgspec

State = Literal["Waiting", "Sending", "Failing"]


class Health(msgspec.Struct):
    """Since the hub started. `failures` are in a row; `refusal` is what was last said of readings that were taken or passed."""

    state: State = "Waiting"
    failures: int = 0
    reason: str = ""
    message: str = ""
    refusal: str = ""
