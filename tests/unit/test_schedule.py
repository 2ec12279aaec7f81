"""When a case begins: a target that takes one case at a time has one, whether it runs for the first time or again."""

from __future__ import annotations

import asyncio

import pytest

from conformance.run.schedule import Schedule
from conformance.tester.clock import Clock


@pytest.mark.parametrize(("places", "beside"), [(1, False), (64, True)])
def test_case_that_runs_again_takes_a_place_where_places_are_few(places: int, beside: bool) -> None:
    async def main() -> bool:
        schedule = Schedule(Clock())
        schedule.open(places, virtual=True)
        schedule.submitted()
        entered = asyncio.Event()

        async def again() -> None:
            async with schedule.again(0):
                entered.set()

        async with schedule.place():
            task = asyncio.create_task(again())
            for _ in range(10):
                await asyncio.sleep(0)
            while_another_runs = entered.is_set()
        await asyncio.wait_for(task, 5)
        return while_another_runs

    assert asyncio.run(main()) is beside
