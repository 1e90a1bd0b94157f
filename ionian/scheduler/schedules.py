"""Schedules that fire: sleeps until the next due time, claims it, hands its call to dispatch, notes how it ended.

Nothing ticks: it wakes for a due time, for ``TOPIC`` (a deploy, a pause, a set clock) and for the end of a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable
from itertools import islice

from ionian import timetable
from ionian.config import Config
from ionian.errors import IonianError, ResourceExhausted, Unavailable
from ionian.model import OpenInput
from ionian.scheduler import alarm
from ionian.state import schedules
from ionian.state.database import Database, Row
from ionian.state.watch import Watch, call_topic

AT_ONCE = 25  # schedules that fire, or runs that are settled, without a pause for others
ALARMS = 4  # hooks that run at once
AGAIN_S = 1.0
FAR_S = 24 * 3600.0  # the longest sleep
log = logging.getLogger("ionian.schedules")


class Schedules:
    """One per server. Fires nothing before ``open`` (what an earlier server accepted comes first) or once closed."""

    def __init__(
        self,
        config: Config,
        database: Database,
        watch: Watch,
        submit: Callable[[list[OpenInput]], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._database = database
        self._watch = watch
        self._submit = submit
        self._clock = clock
        self._opened = False
        self._wake = asyncio.Event()
        self._changed = True  # runs may be there that are not followed
        self._followed: dict[str, asyncio.Future[None]] = {}  # by call
        self._heard: set[str] = set()  # calls of which something was heard
        self._alarms: dict[str, asyncio.Task[None]] = {}  # by run
        self._places = asyncio.Semaphore(ALARMS)

    def open(self) -> None:
        self._opened = True
        self._wake.set()

    def close(self) -> None:
        """Claims nothing any more: what is due from now on is for the next start."""
        self._opened = False

    async def run(self) -> None:
        """Until cancelled."""
        news = self._listen()
        try:
            while True:
                self._wake.clear()
                if news.done():
                    news = self._listen()
                try:
                    sleep_s = await self._round()
                except (ResourceExhausted, Unavailable) as error:
                    log.error("schedules cannot be looked at now, trying again: %s", error)
                    sleep_s = AGAIN_S
                await self._sleep(sleep_s)
        finally:
            news.cancel()
            for future in [*self._followed.values(), *self._alarms.values()]:
                future.cancel()
            await asyncio.gather(*self._alarms.values(), return_exceptions=True)

    def _listen(self) -> asyncio.Future[None]:
        def changed(future: asyncio.Future[None]) -> None:
            self._changed = True
            self._wake.set()

        news = self._watch.ticket(schedules.TOPIC)
        news.add_done_callback(changed)
        return news

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)  # others first, also when there is more to do at once
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):  # wait_for loses a cancellation beside a wake in 3.11
                await self._wake.wait()

    async def _round(self) -> float:
        """Do what is to be done now. Returns after how many seconds there is more."""
        if not self._opened:
            return FAR_S
        await self._fire()
        if self._changed:
            self._changed = False
            self._follow(await self._database.read(schedules.open_calls))
        await self._settle()
        for row in await self._database.read(schedules.untold):
            self._tell(row)
        due = await self._database.read(schedules.next_due)
        return FAR_S if due is None else min(max(due - self._clock(), 0.0), FAR_S)

    async def _fire(self) -> None:
        config, now = self._config, self._clock()
        due = await self._database.read(schedules.next_due)
        more = (due is not None and due <= now) or await self._database.read(schedules.is_set_back, now)
        while more and self._opened:
            inputs, call_ids, more = await self._database.write(
                schedules.fire,
                now,
                config.schedule_catch_up_s,
                config.schedule_overlap == "allow",
                config.schedule_history,
                AT_ONCE,
            )
            self._submit(inputs)
            self._follow(call_ids)

    def _follow(self, call_ids: Iterable[str]) -> None:
        """Hear of these calls when something has ended, and once in any case: it may have been before."""
        for call_id in call_ids:
            if call_id not in self._followed:
                self._heard.add(call_id)
                self._await(call_id)

    def _await(self, call_id: str) -> None:
        def heard(future: asyncio.Future[None]) -> None:
            if not future.cancelled():
                self._heard.add(call_id)
                self._wake.set()

        self._followed[call_id] = self._watch.ticket(call_topic(call_id))
        self._followed[call_id].add_done_callback(heard)

    async def _settle(self) -> None:
        heard = set(islice(self._heard, AT_ONCE))
        self._heard -= heard
        if self._heard:
            self._wake.set()  # for the next round
        heard &= self._followed.keys()  # of one that is settled, something may be heard once more
        for call_id in heard:
            if self._followed[call_id].done():
                self._await(call_id)
        ended = await self._database.read(schedules.ended, heard)
        if not ended:
            return
        tell = bool(self._config.schedule_failure_command or self._config.schedule_failure_webhook)
        try:
            await self._database.write(schedules.settle, ended, tell, self._clock())
        except BaseException:
            self._heard |= heard
            raise
        for call_id in ended:
            future = self._followed.pop(call_id)
            future.cancel()

    def _tell(self, run: Row) -> None:
        run_id = str(run["run_id"])
        if run_id not in self._alarms:
            self._alarms[run_id] = asyncio.get_running_loop().create_task(self._alarm(run))
            self._alarms[run_id].add_done_callback(lambda _: self._alarms.pop(run_id, None))

    async def _alarm(self, run: Row) -> None:
        """Tell of one failure, then note it: when this server ends in between, the next one tells it again."""
        schedule = timetable.described(timetable.decode(run["schedule"])) if run["schedule"] else ""
        command, webhook = self._config.schedule_failure_command, self._config.schedule_failure_webhook
        async with self._places:
            await alarm.tell(alarm.event(run, schedule), command, webhook)
        try:
            await self._database.write(schedules.told, run["run_id"])
        except IonianError as error:
            log.error("that run %s was told of cannot be noted, so it is told again: %s", run["run_id"], error)
