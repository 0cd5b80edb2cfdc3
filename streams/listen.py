"""Opening the HTTP port, with errors that say what to do."""

from __future__ import annotations

import errno

from aiohttp import web

from streams.errors import PortError

#: Seconds that stopping waits for requests that are being answered.
SHUTDOWN_S = 2.0


async def serve(app: web.Application, host: str, port: int) -> web.AppRunner:
    """Listen, and return the runner: `await runner.cleanup()` stops, `addresses` says what port 0 became.

    Raises:
        PortError: The port is in use, or the address is not one of this machine.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as error:
        await runner.cleanup()
        raise _port_error(error, host, port) from error
    return runner


def _port_error(error: OSError, host: str, port: int) -> PortError:
    if error.errno == errno.EADDRINUSE:
        return PortError(
            f"port {port} on {host} is in use",
            remedy=f"stop what listens there (`ss -ltnp 'sport = :{port}'` names it) or change `http.port`",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return PortError(
            f"port {port} on {host} may not be opened by this user",
            remedy="set `http.port` to one above 1023",
        )
    return PortError(
        f"cannot listen on {host} port {port}: {error.strerror or error}",
        remedy="set `http.host` to an address of this machine, e.g. 127.0.0.1, or 0.0.0.0 for all of them",
    )
