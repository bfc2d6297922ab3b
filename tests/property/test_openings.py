"""Openings of a calendar against a scan of every minute, in zones that change their clocks by an hour, by half an hour,
at midnight, not at all, and once by a whole day; recurrence rules against dateutil."""
# ruff: noqa: DTZ001 (local times have no zone here)

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

from dateutil import rrule as oracle
from hypothesis import given, settings
from hypothesis import strategies as st

from holdfast_protocol.calendar import cron, rule
from holdfast_protocol.calendar.openings import Calendar, openings
from holdfast_protocol.errors import WireError

MINUTE = 60
# A moment shortly before the clocks change: forward and back for each zone that has both.
CHANGES = [
    ("Europe/Berlin", "2027-03-28"),
    ("Europe/Berlin", "2027-10-31"),
    ("America/New_York", "2027-03-14"),
    ("America/New_York", "2027-11-07"),
    ("Australia/Lord_Howe", "2027-04-04"),
    ("Australia/Lord_Howe", "2027-10-03"),
    ("America/Havana", "2027-03-14"),  # at midnight
    ("Asia/Kolkata", "2027-06-30"),
    ("Pacific/Apia", "2011-12-30"),  # a day that was left out
    ("Africa/Casablanca", "2027-02-07"),
    ("UTC", "2028-02-29"),
]

fields = st.tuples(
    st.one_of(st.just("*/30"), st.integers(0, 59).map(str), st.just("0,45")),
    st.one_of(st.just("*"), st.integers(0, 23).map(str), st.sampled_from(["0-3", "1,2,3", "2,22", "23", "*/6"])),
    st.sampled_from(["*", "1", "*/2", "28-31", "15,31", "30"]),
    st.sampled_from(["*", "3,10,11", "JAN-JUN", "*/2"]),
    st.sampled_from(["*", "1-5", "SUN", "0,6", "7", "mon,wed"]),
)


def scanned(text: str, lasts: int, zone: ZoneInfo, since: int, until: int) -> list[bool]:
    """Return for every minute whether it is open, by looking at every minute."""
    minute, hour, monthday, month, weekday = text.split()

    def matches(local: datetime) -> bool:
        days = (holds(monthday, local.day, 1, 31), holds(weekday, local.isoweekday() % 7, 0, 7))
        either = not monthday.startswith("*") and not weekday.startswith("*")
        return (
            holds(minute, local.minute, 0, 59)
            and holds(hour, local.hour, 0, 23)
            and holds(month, local.month, 1, 12)
            and (any(days) if either else all(days))
        )

    starts = []
    first = since - lasts - 2 * 86400
    before = datetime.fromtimestamp(first, zone).replace(tzinfo=None)
    for at in range(first + MINUTE, until, MINUTE):
        local = datetime.fromtimestamp(at, zone)
        now = local.replace(tzinfo=None)
        skipped = before + timedelta(minutes=1)
        while skipped < now.replace(fold=0):
            if matches(skipped):
                starts.append(at)
            skipped += timedelta(minutes=1)
        if local.fold == 0 and matches(now):
            starts.append(at)
        before = now.replace(fold=0)
    opened, reach = [], 0
    left = iter([*starts, until + lasts])
    following = next(left)
    for at in range(since, until, MINUTE):
        while following <= at:
            reach = max(reach, following + lasts)
            following = next(left)
        opened.append(at < reach)
    return opened


MONTHS, WEEKDAYS = "JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC", "SUN MON TUE WED THU FRI SAT"
NAMES = {
    **{name: number for number, name in enumerate(MONTHS.split(), 1)},
    **{name: number for number, name in enumerate(WEEKDAYS.split())},
}


def holds(field: str, value: int, low: int, high: int) -> bool:
    for term in field.upper().split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        start = low if first == "*" else int(NAMES.get(first, first))
        end = high if first == "*" else int(NAMES.get(last, last)) if last else start
        every = range(start, end + 1, int(step or 1))
        if value in every or (high == 7 and value == 0 and 7 in every):
            return True
    return False


@settings(max_examples=25, deadline=None)
@given(place=st.sampled_from(CHANGES), text=fields.map(" ".join), minutes=st.sampled_from([1, 20, 60, 150, 1500]))
def test_openings_are_those_of_a_scan_of_every_minute(place: tuple[str, str], text: str, minutes: int) -> None:
    zone, middle = ZoneInfo(place[0]), int(datetime.fromisoformat(place[1]).replace(tzinfo=UTC).timestamp())
    since, until, lasts = middle - 26 * 3600, middle + 30 * 3600, minutes * 60
    calendar = Calendar(cron.parse(text, "spec"), lasts)
    found = list(takewhile(lambda each: each.start < until, openings(calendar, zone, since)))
    mine = [any(each.start <= at < each.end for each in found) for at in range(since, until, MINUTE)]
    assert mine == scanned(text, lasts, zone, since, until)
    assert all(one.end <= other.start for one, other in pairwise(found)), "in order, none inside another"


rules = st.builds(
    lambda freq, interval, byday, monthdays, months_, setpos, end: ";".join(
        part
        for part in (
            f"FREQ={freq}",
            f"INTERVAL={interval}",
            f"BYDAY={','.join(byday)}" if byday else "",
            f"BYMONTHDAY={','.join(map(str, monthdays))}" if monthdays and freq != "WEEKLY" else "",
            f"BYMONTH={','.join(map(str, months_))}" if months_ else "",
            f"BYSETPOS={setpos}" if setpos and (byday or (monthdays and freq != "WEEKLY")) else "",
            end,
        )
        if part
    ),
    st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
    st.integers(1, 5),
    st.lists(st.sampled_from(["MO", "TU", "FR", "SA", "SU"]), max_size=3, unique=True),
    st.lists(st.sampled_from([1, 15, 29, 31, -1, -3]), max_size=2, unique=True),
    st.lists(st.sampled_from([1, 2, 6, 11]), max_size=2, unique=True),
    st.sampled_from([0, 1, -1, 2]),
    st.sampled_from(["", "COUNT=7", "UNTIL=20290305T235959", "UNTIL=20280229T023000"]),
)
ordinals = st.sampled_from(
    [
        "FREQ=MONTHLY;BYDAY=2SU",
        "FREQ=MONTHLY;BYDAY=-1FR,1MO",
        "FREQ=MONTHLY;BYDAY=5TU",
        "FREQ=YEARLY;BYDAY=20MO",
        "FREQ=YEARLY;BYDAY=-1SA;BYMONTH=2,12",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU",
        "FREQ=YEARLY",
        "FREQ=MONTHLY;BYMONTHDAY=-1",
    ]
)


@settings(max_examples=80, deadline=None)
@given(
    text=st.one_of(rules, ordinals),
    start=st.dates(date(2024, 1, 1), date(2028, 12, 31)),
    ahead=st.integers(0, 900),
)
def test_the_days_of_a_rule_are_those_of_dateutil(text: str, start: date, ahead: int) -> None:
    begin = datetime(start.year, start.month, start.day, 2, 30)
    since = start + timedelta(days=ahead)
    horizon = datetime(since.year + 12, 1, 1)
    every = oracle.rrulestr(f"RRULE:{text}", dtstart=begin)
    wanted = [
        each.date()
        for each in takewhile(lambda at: at < horizon, every.xafter(begin, inc=True))
        if each.date() >= since
    ]
    try:
        mine: Iterator[date] = rule.parse(text, begin, "spec").days(since)
    except WireError as error:
        assert "never comes" in str(error)
        assert not wanted
        return
    assert list(islice(takewhile(lambda day: day < horizon.date(), mine), 60)) == wanted[:60]
