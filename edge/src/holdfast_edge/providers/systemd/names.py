"""Names of units as D-Bus object paths carry them. Pure."""


def escaped(unit: str) -> str:
    """Return a unit's name as D-Bus object paths carry it: every byte but letters and digits as _xx."""
    return "".join(
        chr(byte)
        if chr(byte).isascii() and chr(byte).isalnum() and not (at == 0 and chr(byte).isdigit())
        else f"_{byte:02x}"
        for at, byte in enumerate(unit.encode())
    )
