"""The readings of the benchmarks: a hall of 20 presses, each saying five things once a second.

Temperature with two decimals and pressure with one wander, vibration with three is noise, a counter grows, a flag is
mostly on; every press's clock jitters by some milliseconds. As JSON, one reading an object, they are about 110 bytes.
"""

import json
import random
from typing import Final

from holdfast_protocol.wire.readings import Reading

PRESSES: Final = 20
START: Final = 1_700_000_000_000  # milliseconds since 1970


def readings(count: int) -> list[Reading]:
    """Return the first `count` readings, in order of time; the same ones every time."""
    chance = random.Random(1)
    found: list[Reading] = []
    temperature, pressure, cycles = [21.5] * PRESSES, [101.3] * PRESSES, [0] * PRESSES
    second = 0
    while len(found) < count:
        for press in range(PRESSES):
            device, at = f"press-{press:02d}", START + 1000 * second + 7 * press + chance.randint(0, 3)
            temperature[press] = round(temperature[press] + chance.gauss(0, 0.05), 2)
            pressure[press] = round(pressure[press] + chance.gauss(0, 0.2), 1)
            cycles[press] += chance.randint(0, 3)
            found += [
                Reading(device, "temperature", at, temperature[press], "Cel"),
                Reading(device, "pressure", at, pressure[press], "kPa"),
                Reading(device, "vibration", at, round(chance.gauss(0, 1), 3), "mm/s"),
                Reading(device, "cycles", at, cycles[press]),
                Reading(device, "running", at, chance.random() < 0.95),
            ]
        second += 1
    return found[:count]


def as_json(reading: Reading) -> str:
    """Return a reading as devices and bridges usually carry it."""
    return json.dumps(
        {
            "time": reading.time,
            "device": reading.device,
            "metric": reading.metric,
            "value": reading.value,
            "unit": reading.unit,
        }
    )
