"""A network that misbehaves: a TCP proxy on this machine in front of a server's unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any


class _Link:
    """One connection through the proxy."""

    def __init__(self, writers: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.passes_requests = self.passes_answers = True

    @property
    def is_whole(self) -> bool:
        return self.passes_requests and self.passes_answers


class Proxy:
    """Context manager; forwards `127.0.0.1:port` to a unix socket until it is told otherwise."""

    def __init__(self, upstream: Path) -> None:
        """Nothing listens before the block is entered."""
        self._upstream = upstream
        self._links: list[_Link] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        #: Seconds by which everything is late.
        self.delay_s = 0.0

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        self._server.close()
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def silence(self) -> None:
        """Let what is connected stay so, but never hear or say anything again; new connections work."""
        for link in self._links:
            link.passes_requests = link.passes_answers = False

    def swallow_answers(self) -> None:
        """Pass on what is asked on the present connections, and lose every answer."""
        for link in self._links:
            link.passes_answers = False

    def drop(self) -> None:
        """Reset all connections."""
        self._run(self._drop())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _drop(self) -> None:
        links, self._links = self._links, []
        for link in links:
            for writer in link.writers:
                writer.transport.abort()

    async def _end(self) -> None:
        await self._drop()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, requests = await asyncio.open_unix_connection(self._upstream)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((writer, requests))
        self._links.append(link)
        # Cancelled when the proxy ends; asyncio's streams would report that as a failure.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._pump(link, reader, requests, lambda: link.passes_requests),
                self._pump(link, answers, writer, lambda: link.passes_answers),
            )
        with contextlib.suppress(ValueError):
            self._links.remove(link)

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        passes: Callable[[], bool],
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65_536):
                await asyncio.sleep(self.delay_s)
                if passes():
                    writer.write(chunk)
                    await writer.drain()
        # A side of a half-open connection does not hear that the other has gone.
        if link.is_whole:
            writer.close()
