"""A connection to Redis that redis-py opens, and on which hiredis reads the answers.

redis-py's own way to send commands keeps a connection busy for the whole of each trip, and takes a
task's turn for each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final, cast

from hiredis import HiredisError, Reader
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from ..errors import StoreUnavailable
from .wire import Wire

_INCOMPLETE: Final = object()


class Refusal(Exception):
    """An error that Redis has answered. It is given as an answer, not raised."""


class RedisWire(Wire):
    def __init__(self, connection: AbstractConnection, address: str, timeout_s: float) -> None:
        """Use a `connection` that is not open yet; it says to which server, and as whom."""
        super().__init__(address, timeout_s)
        self._connection = connection
        self._stream: asyncio.StreamWriter | None = None
        self._reader = Reader(replyError=Refusal, notEnoughData=_INCOMPLETE)

    async def _open(self) -> asyncio.Transport:
        connection = self._connection
        try:
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's gap
        except BaseException as error:  # the time may be out in the middle of it
            await connection.disconnect(nowait=True)
            if isinstance(error, RedisError):
                raise StoreUnavailable(self._address, str(error)) from error
            raise
        # By now redis-py has found the server, also through Sentinel or TLS, logged in and chosen
        # the database. It has no public way to hand its stream over.
        self._stream, connection._reader, connection._writer = connection._writer, None, None
        assert self._stream is not None
        transport = cast(asyncio.Transport, self._stream.transport)
        transport.set_protocol(self)
        return transport

    def _answers(self, data: bytes) -> Iterator[Any]:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _INCOMPLETE:
                yield answer
        except HiredisError as error:
            raise ValueError(str(error)) from error
