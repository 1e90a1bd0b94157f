"""When schedules are due: against counting by hand, over zones, clock changes, jumps and restarts."""

from __future__ import annotations

import calendar
from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ionian import timetable
from ionian.errors import InvalidRequest
from ionian.timetable import MISSED, RUN, SKIPPED, Cron, Period, Plan, Schedule

DAY = 86400.0
ZONES = (
    *("UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/Santiago", "Africa/Cairo"),
    *(
        "Africa/Casablanca",
        "Asia/Kolkata",
        "Asia/Beirut",
        "Australia/Sydney",
        "Australia/Lord_Howe",
        "Antarctica/Troll",
    ),
)
HALF_AN_HOUR = "Australia/Lord_Howe"  # changes its clock by that: the library then loses half of a starred hour
moments = st.integers(1_577_836_800, 2_208_988_800).map(float)  # 2020 to 2039
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


def _at(zone: str, *parts: int, fold: int = 0) -> float:
    return datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).timestamp()  # type: ignore[arg-type,misc]


def _dues(schedule: Schedule, anchor: float, begin: float, end: float) -> list[float]:
    """All due times later than ``begin``, up to ``end``."""
    found = []
    due = timetable.after(schedule, anchor, begin)
    while due <= end:
        found.append(due)
        due = timetable.after(schedule, anchor, due)
    return found


# -- cron and clock changes


def test_a_time_that_the_clock_leaves_out_is_run_when_it_goes_on() -> None:
    days = _dues(Cron("30 2 * * *", "Europe/Berlin"), 0, _at("Europe/Berlin", 2026, 3, 28, 3), NOON + 30 * DAY)
    assert days[:3] == [
        _at("Europe/Berlin", 2026, 3, 29, 3),  # 02:00 to 03:00 does not exist
        _at("Europe/Berlin", 2026, 3, 30, 2, 30),
        _at("Europe/Berlin", 2026, 3, 31, 2, 30),
    ]


def test_a_time_that_the_clock_shows_twice_is_run_the_first_time() -> None:
    days = _dues(Cron("30 2 * * *", "Europe/Berlin"), 0, *(_at("Europe/Berlin", 2026, 10, day, 12) for day in (24, 26)))
    assert days == [_at("Europe/Berlin", 2026, 10, 25, 2, 30), _at("Europe/Berlin", 2026, 10, 26, 2, 30)]


@pytest.mark.parametrize("minute", [0, 15, 29, 30, 31, 59])
def test_who_asks_in_the_second_of_two_hours_gets_the_next_day(minute: int) -> None:
    asked = _at("Europe/Berlin", 2026, 10, 25, 2, minute, fold=1)
    assert timetable.after(Cron("30 2 * * *", "Europe/Berlin"), 0, asked) == _at("Europe/Berlin", 2026, 10, 26, 2, 30)


def test_two_times_left_out_are_one_run() -> None:
    cron = Cron("0,30 2 * * *", "Europe/Berlin")
    assert _dues(cron, 0, _at("Europe/Berlin", 2026, 3, 29, 0), _at("Europe/Berlin", 2026, 3, 29, 23)) == [
        _at("Europe/Berlin", 2026, 3, 29, 3)
    ]


@pytest.mark.parametrize("day", [(2026, 3, 29), (2026, 10, 25)])
def test_hourly_stays_hourly_when_the_clock_is_changed(day: tuple[int, int, int]) -> None:
    begin = _at("Europe/Berlin", *day, 0)
    assert _dues(Cron("0 * * * *", "Europe/Berlin"), 0, begin, begin + 5 * 3600) == [
        begin + hour * 3600 for hour in range(1, 6)
    ]


# -- cron against counting

_minutes = st.sampled_from(["0", "30", "59", "5,35", "10-13", "7/20"])
_hours = st.sampled_from(["0", "1", "2", "3", "1-3", "23", "0,12", "2/7"])
_days = st.sampled_from(["*", "1", "29-31", "25/2"])
_weekdays = st.sampled_from(["*", "0", "1-5", "SUN", "6,7"])


def _members(text: str, low: int, high: int) -> set[int]:
    """What a field of the samples above means."""
    found: set[int] = set()
    for term in text.replace("SUN", "0").split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        begin = low if span == "*" else int(first)
        end = high if span == "*" or (step and not last) else int(last or first)
        found |= set(range(begin, end + 1, int(step or 1)))
    return found


def _matches(expression: str, local: datetime) -> bool:
    minute, hour, day, _, weekday = expression.split()
    days = local.day in _members(day, 1, 31)
    weekdays = bool({local.isoweekday(), local.isoweekday() % 7} & _members(weekday, 0, 7))
    both = days and weekdays if "*" in (day[0], weekday[0]) else days or weekdays
    return local.minute in _members(minute, 0, 59) and local.hour in _members(hour, 0, 23) and both


def _counted(expression: str, zone: str, begin: float, end: float) -> list[float]:
    """Due times in ``(begin, end]``, minute by minute: of the clock on the wall, or of real time with a star."""
    place = ZoneInfo(zone)
    if "*" in (expression[0], expression.split()[1][0]):
        every = (begin // 60 * 60 + 60 * number for number in range(1, int((end - begin) // 60) + 2))
        return [due for due in every if due <= end and _matches(expression, datetime.fromtimestamp(due, place))]
    local = datetime.fromtimestamp(begin, place).replace(tzinfo=None, second=0, fold=0) - timedelta(days=1)
    found = set()
    while local < datetime.fromtimestamp(end, place).replace(tzinfo=None):
        local += timedelta(minutes=1)
        if _matches(expression, local):
            real = local
            while datetime.fromtimestamp(real.replace(tzinfo=place).timestamp(), place).replace(tzinfo=None) != real:
                real += timedelta(minutes=1)  # left out by the clock
            found.add(real.replace(tzinfo=place).timestamp())
    return sorted(due for due in found if begin < due <= end)


def _changes(zone: str, year: int) -> list[float]:
    """The days of a year on which the clock is changed."""
    begin = datetime(year, 1, 1, tzinfo=UTC).timestamp()
    offsets = [datetime.fromtimestamp(begin + DAY * day, ZoneInfo(zone)).utcoffset() for day in range(366)]
    return [begin + DAY * day for day in range(365) if offsets[day] != offsets[day + 1]]


@settings(max_examples=60, deadline=None)
@given(_minutes, _hours, _days, _weekdays, st.sampled_from(ZONES), st.integers(2024, 2034), st.data())
def test_cron_is_what_counting_says(
    minute: str, hour: str, day: str, weekday: str, zone: str, year: int, data: st.DataObject
) -> None:
    near = data.draw(st.sampled_from(_changes(zone, year) or [datetime(year, 7, 1, tzinfo=UTC).timestamp()]))
    begin = near - data.draw(st.integers(0, 2 * 86400))
    expression = f"{minute} {hour} {day} * {weekday}"
    assert _dues(Cron(expression, zone), 0, begin, begin + 3 * DAY) == _counted(
        expression, zone, begin, begin + 3 * DAY
    )


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["*", "*/7", "*/30", "15", "0,45"]),
    st.sampled_from(["*", "*/2"]),
    st.sampled_from([zone for zone in ZONES if zone != HALF_AN_HOUR]),
    st.data(),
)
def test_cron_with_stars_goes_by_real_time(minute: str, hour: str, zone: str, data: st.DataObject) -> None:
    near = data.draw(st.sampled_from(_changes(zone, 2027) or [NOON]))
    begin = near - data.draw(st.integers(0, 86400))
    expression = f"{minute} {hour} * * *"
    assert _dues(Cron(expression, zone), 0, begin, begin + 2 * DAY) == _counted(
        expression, zone, begin, begin + 2 * DAY
    )


# -- periods

periods = st.builds(
    Period,
    years=st.integers(0, 3),
    months=st.integers(0, 30),
    weeks=st.integers(0, 5),
    days=st.integers(0, 40),
    hours=st.integers(0, 30),
    minutes=st.integers(0, 90),
    seconds=st.floats(0, 100).map(lambda number: round(number, 6)),
).filter(lambda period: 1 <= timetable.after(period, 0.0, 0.0) < inf)


def test_a_period_of_months_keeps_its_day() -> None:
    anchor = _at("UTC", 2027, 1, 31, 8)
    dues = _dues(Period(months=1), anchor, anchor, anchor + 100 * DAY)
    assert dues == [_at("UTC", 2027, month, day, 8) for month, day in ((2, 28), (3, 31), (4, 30))]


def test_years_and_seconds_together() -> None:
    leap = _at("UTC", 2028, 2, 29)
    assert timetable.after(Period(years=1, seconds=1.5), leap, leap) == _at("UTC", 2029, 2, 28, 0, 0, 1) + 0.5


@given(periods, moments, st.floats(0, 20 * 365 * DAY))
def test_a_period_is_due_at_its_multiples(period: Period, anchor: float, later: float) -> None:
    length = timedelta(
        days=7 * period.weeks + period.days, hours=period.hours, minutes=period.minutes, seconds=period.seconds
    )
    assume(later / (length.total_seconds() + DAY * 28 * (12 * period.years + period.months)) < 2000)
    count, due = 0, anchor
    while due <= anchor + later:
        count += 1
        begin = datetime.fromtimestamp(anchor, UTC)
        month = begin.month - 1 + count * (12 * period.years + period.months)
        year, month = begin.year + month // 12, month % 12 + 1
        day = min(begin.day, calendar.monthrange(year, month)[1])
        due = (begin.replace(year=year, month=month, day=day) + count * length).timestamp()
    assert timetable.after(period, anchor, anchor + later) == pytest.approx(due, abs=1e-3)


@given(periods, moments)
def test_a_day_is_the_same_time_of_day(period: Period, anchor: float) -> None:
    due = timetable.after(Period(days=1 + period.days), anchor, anchor)
    assert (due - anchor) % DAY == 0


# -- deciding

crons = st.builds(
    Cron,
    st.tuples(_minutes, st.sampled_from(["*", "2", "1-3", "*/6"]), _days, _weekdays).map(
        lambda parts: "{} {} {} * {}".format(*parts)
    ),
    st.sampled_from(ZONES),
)
schedules = st.one_of(crons, periods)
steps = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 120), st.floats(0, 3 * DAY)),  # what passes
        st.one_of(st.just(0.0), st.just(0.0), st.floats(-30 * DAY, 30 * DAY)),  # how far the clock is set
        st.booleans(),  # whether a run goes on
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(schedules, moments, st.sampled_from([0.0, 3600.0, DAY]), steps)
def test_whatever_happens_the_plan_is_ahead_and_what_is_run_was_due(
    schedule: Schedule, now: float, catch_up_s: float, steps: list[tuple[float, float, bool]]
) -> None:
    plan = timetable.planned(schedule, now)
    for passed, jump, busy in steps:
        now += passed + jump
        before = plan
        plan, occasion = timetable.decide(before, now, catch_up_s, busy)
        assert plan.due > now
        assert plan.schedule == schedule
        first = timetable.after(schedule, plan.anchor, now)
        assert plan.due == first or (isinstance(schedule, Period) and plan.due <= first)
        again, nothing = timetable.decide(plan, now, catch_up_s, busy)
        assert (again, nothing) == (plan, None)
        if occasion is None:
            continue
        assert before.due == occasion.since <= occasion.due <= now
        assert timetable.after(schedule, plan.anchor, occasion.due) > now  # it is the last of those that have passed
        late = now - occasion.due > max(catch_up_s, timetable.GRACE_S)
        assert occasion.outcome == (MISSED if late else SKIPPED if busy else RUN)


@settings(max_examples=60, deadline=None)
@given(schedules, moments, st.lists(st.floats(0.01, 0.99), min_size=1, max_size=30))
def test_who_looks_often_enough_runs_each_due_time_once(schedule: Schedule, now: float, steps: list[float]) -> None:
    """Each look is somewhere between a due time and the next one: as if every sleep were a little late."""
    plan, begin, run = timetable.planned(schedule, now), now, []
    for step in steps:
        following = timetable.after(schedule, plan.anchor, plan.due)
        now = plan.due + min(step * (following - plan.due), timetable.GRACE_S)
        plan, occasion = timetable.decide(plan, now, 0.0, False)
        assert occasion is not None
        assert occasion.outcome == RUN
        run.append(occasion.due)
    assert run == _dues(schedule, begin, begin, now)


@given(schedules, moments, st.floats(10, 400 * DAY))
def test_a_clock_that_is_set_right_again_leaves_no_long_silence(schedule: Schedule, now: float, ahead: float) -> None:
    """Of a clock that was wrong by so much, and planned ahead by it, the next look makes a plan from the right time."""
    wrong = timetable.planned(schedule, now + ahead)
    plan, occasion = timetable.decide(wrong, now, DAY, False)
    assert occasion is None
    assert plan.due == timetable.planned(schedule, now).due


@given(schedules, moments, st.floats(0, 100 * DAY))
def test_a_pause_is_not_made_up_for(schedule: Schedule, now: float, passed: float) -> None:
    plan = timetable.planned(schedule, now)
    resumed = timetable.resumed(plan, now + passed)
    assert resumed.due == timetable.after(schedule, plan.anchor, now + passed) > now + passed


def test_a_server_that_was_down_for_years_decides_at_once() -> None:
    plan = Plan(Cron("* * * * *"), 0, NOON + 60, NOON)
    moved, occasion = timetable.decide(plan, NOON + 20 * 365 * DAY + 30, 0.0, False)
    assert occasion is not None
    assert (occasion.due, occasion.since) == (NOON + 20 * 365 * DAY, NOON + 60)
    assert moved.due == NOON + 20 * 365 * DAY + 60


# -- what is refused


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (Cron("61 * * * *"), "bad minute"),
        (Cron("* * * * FUN"), "bad day-of-week"),
        (Cron("* * * *"), "five fields: minute, hour, day of month, month, day of week"),
        (Cron("0 0 * * * *"), "five fields"),
        (Cron(""), "five fields"),
        (Cron("@reboot"), "five fields"),
        (Cron("0 0 31 2 *"), "bad day-of-month"),
        (Cron("* * * * *", "Mars/Base"), "'Mars/Base' is no zone"),
        (Cron("* * * * *", "../../etc/passwd"), "is no zone"),
        (Cron("* * * * *", "Europe"), "is no zone"),
        (Cron("0," * 200 + "0 * * * *"), "longer than 200"),
        (Period(), "no length"),
        (Period(days=-1), r"Period\(days=-1\)"),
        (Period(hours=1, minutes=-1), "numbers from 0 up"),
        (Period(seconds=0.5), "shortest period is 1 second"),
        (Period(seconds=inf), "numbers from 0 up"),
        (Period(seconds=float("nan")), "numbers from 0 up"),
        (Period(years=2**31 - 1), "never comes"),
        (Period(weeks=2**31 - 1), "never comes"),
    ],
)
def test_what_cannot_work_is_refused(schedule: Schedule, text: str) -> None:
    with pytest.raises(InvalidRequest, match=text):
        timetable.check(schedule, NOON)


@pytest.mark.parametrize("expression", ["@daily", "@HOURLY", "0 9 * * mon-fri", "*/5 8-18/2 1,15 jan *", "0 0 L * *"])
def test_what_works_is_taken(expression: str) -> None:
    timetable.check(Cron(expression, "Asia/Tokyo"), NOON)


@given(
    st.text(alphabet="0123456789*/-,#LWMONSU@ \t½٣", max_size=30), st.sampled_from([*ZONES, "", "x", "\0", "a" * 300])
)
def test_no_text_breaks_the_check(expression: str, zone: str) -> None:
    try:
        timetable.check(Cron(expression, zone), NOON)
    except InvalidRequest:
        return
    assert timetable.after(Cron(expression, zone), 0, NOON) > NOON


# -- as text


@given(schedules)
def test_what_is_encoded_is_decoded(schedule: Schedule) -> None:
    assert timetable.decode(timetable.encode(schedule)) == schedule
