"""Client of a running agent: one question, one answer. Imports nothing heavy: asking must be quick."""

import json
import socket
import tomllib
from pathlib import Path
from typing import Any, Final

from holdfast_edge.cli.exits import BY_REASON, DENIED, TIMED_OUT, UNREACHABLE, USAGE, CliError

SOCKET: Final = "control.sock"
WITHIN: Final = 60.0  # seconds


def state_folder(config: Path) -> Path:
    """Return where the agent of a settings file keeps its state."""
    try:
        values = tomllib.loads(config.read_text(encoding="utf-8"))
    except PermissionError:
        raise CliError(f"{config}: Permission denied", DENIED, reason="Forbidden", hint="ask as root") from None
    except OSError as error:
        raise CliError(f"{config}: {error.strerror}", USAGE, reason="NoSettings", hint="--config FILE") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CliError(f"{config}: {error}", USAGE, reason="InvalidInput") from None
    folder = values.get("state_dir")
    if not isinstance(folder, str):
        raise CliError(f"{config}: state_dir must be text", USAGE, reason="InvalidInput")
    return config.absolute().parent / folder


def ask(folder: Path, request: dict[str, Any], within: float = WITHIN) -> dict[str, Any]:
    """Return the agent's answer; raises CliError when it is not running, does not answer, or says no."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(within)
            connection.connect(str(folder / SOCKET))
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as answers:
                line = answers.readline()
    except PermissionError:
        raise CliError("only root and the agent's user may ask it", DENIED, reason="Forbidden") from None
    except TimeoutError:
        raise CliError(f"the agent did not answer within {within:g} s", TIMED_OUT, reason="TimedOut") from None
    except OSError:
        raise CliError(
            f"the agent is not running: nobody answers on {folder / SOCKET}",
            UNREACHABLE,
            reason="NotRunning",
            hint="start its unit or `holdfast-edge run`; --config FILE names another agent",
        ) from None
    if not line.endswith(b"\n"):
        raise CliError("the agent stopped while it answered", UNREACHABLE, reason="NotRunning")
    answer: dict[str, Any] = json.loads(line)
    if error := answer.get("error"):
        code = BY_REASON.get(error["reason"], USAGE)
        raise CliError(error["message"], code, reason=error["reason"], hint=error["hint"])
    return answer
