"""Builds pending images through the engine, a few at a time. What a build prints is in its log segments as it comes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping

from ionian.config import Config
from ionian.engines.engine import BuildDone, BuildRequest, Engine
from ionian.errors import IonianError, NotFound
from ionian.images import recipe
from ionian.images.layers import Layers
from ionian.logs import STDOUT, Record, Writer
from ionian.state import images, secrets
from ionian.state.database import Database
from ionian.state.watch import Watch, image_topic

log = logging.getLogger("ionian.builds")

AT_ONCE = 2  # builds beside each other: they are bound by network and disk


class Builds:
    """``wake`` when there may be pending images."""

    def __init__(self, config: Config, database: Database, engine: Engine, watch: Watch) -> None:
        self._config = config
        self._database = database
        self._engine = engine
        self._watch = watch
        self._wanted = asyncio.Event()
        self._places = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled. What was building when a server was killed is pending again."""
        await self._database.write(images.restart)
        await self.forget_lost()
        self.wake()
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            for image_id in await self._database.read(images.pending):
                if await self._database.write(images.begin, image_id):
                    task = asyncio.get_running_loop().create_task(self._build(image_id))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def forget_lost(self) -> None:
        """Images that lack a layer on disk count as built no more: the next deploy makes them anew."""
        store = Layers(self._config)
        for image_id, layers in (await self._database.read(images.built_layers)).items():
            lost = next((layer for layer in layers if not store.has(layer)), None)
            if lost is not None:
                await self._database.write(images.fail, image_id, f"its layer {lost[:12]} is gone", time.time())

    async def _build(self, image_id: str) -> None:
        writer = Writer(self._config.logs / image_id, self._config.log_segment_bytes)
        try:
            async with self._places:
                await self._built(image_id, writer)
        except NotFound as error:
            await self.forget_lost()
            await self._database.write(images.fail, image_id, str(error), time.time())
        except IonianError as error:
            await self._database.write(images.fail, image_id, str(error), time.time())
        except Exception as error:
            log.exception("the build of %s failed inside the server", image_id)
            text = f"the server failed to build it: {error!r} (its log has the rest)"
            await self._database.write(images.fail, image_id, text, time.time())
        finally:
            writer.close()
            self._watch.notify(image_topic(image_id))
            self.wake()  # an image that stands on this one may be next

    async def _built(self, image_id: str, writer: Writer) -> None:
        order = await self._database.read(images.build_request, image_id)
        key_file, ids = self._config.secret_key_file, order.recipe.secret_ids
        opened = await secrets.variables(self._database, key_file, ids, time.time())
        async for item in self._engine.build(_request(order, opened)):
            if isinstance(item, BuildDone):
                await self._database.write(
                    images.finish,
                    image_id,
                    item.layers,
                    item.env,
                    item.workdir,
                    item.python_version,
                    item.metadata,
                    time.time(),
                )
            else:
                writer.append([Record(time.time_ns(), image_id, "", STDOUT, item.text)])
                self._watch.notify(image_topic(image_id))


def _request(order: images.Order, opened: Mapping[str, str]) -> BuildRequest:
    """The build of an image row, with its secrets. Raises InvalidRequest naming an unsupported instruction."""
    parsed = recipe.parse(
        order.recipe.dockerfile_commands,
        dict(order.recipe.context_files),
        order.recipe.builder_version,
        base_images=[tag for tag, _ in order.recipe.bases] or ["base"],
        build_args=dict(order.recipe.build_args),
    )
    return BuildRequest(
        image_id=order.image_id,
        python_version=parsed.python or order.python_version,
        base_layers=order.base_layers,
        steps=parsed.steps(),
        context_mount=order.context_mount,
        env=order.base_env,
        workdir=order.base_workdir,
        secrets=tuple(opened.items()),
        secrets_key=order.recipe.secrets_key,
        force=order.force,
        metadata=order.base_metadata,
    )
