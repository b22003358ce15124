"""ministack on 127.0.0.1 and a free port, for as long as standard input is open. Prints `{"port": ...}` when it listens."""

import asyncio
import json
import os
import socket
import sys
import threading


def main():
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    port = listening.getsockname()[1]
    # Read while it is imported. Left to itself it listens on every address.
    os.environ |= {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "MINISTACK_HOST": "127.0.0.1", "LOG_LEVEL": "ERROR"}

    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.loglevel = "ERROR"

    async def run():
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def wait():
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=wait, daemon=True).start()
        print(json.dumps({"port": port}), flush=True)
        await serve(app, config, shutdown_trigger=ended.wait)

    asyncio.run(run())


if __name__ == "__main__":
    main()
