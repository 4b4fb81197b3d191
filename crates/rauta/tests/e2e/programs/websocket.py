"""A WebSocket endpoint and a client, both of the `websockets` library, for what RFC 6455 leaves to the ends.

websocket.py serve ADDRESS PORT      an endpoint: see `endpoint`
websocket.py check URI [CA]          a client: prints a line for each case, and how many passed
websocket.py stay URI FILE [CA]      a client that talks until there is such a file; then it closes, and says how that went
"""

import asyncio
import pathlib
import ssl
import sys

import websockets


async def endpoint(socket):
    """Says back what it hears. `close CODE REASON` closes; `break` ends without a close frame; `count N` sends N messages."""
    async for message in socket:
        words = message.split(" ", 2) if isinstance(message, str) else [""]
        if words[0] == "close":
            await socket.close(int(words[1]), words[2])
        elif words[0] == "break":
            socket.transport.abort()
        elif words[0] == "count":
            for number in range(int(words[1])):
                await socket.send(f"{number} " + "x" * 1000)
        elif words[0] == "path":
            await socket.send(f"{socket.path} {socket.subprotocol}")
        else:
            await socket.send(message)


async def serve(address, port):
    async with websockets.serve(endpoint, address, port, subprotocols=["chat", "other"], max_size=None):
        print("ready", flush=True)
        await asyncio.Future()


async def text_and_binary(connect):
    async with connect() as socket:
        for message in ["", "a", "\u00e9\u4e16" * 100, b"", b"\x00\xff" * 5000]:
            await socket.send(message)
            assert await socket.recv() == message


async def sizes_around_the_length_forms(connect):
    async with connect(compression=None) as socket:
        for size in [125, 126, 127, 65535, 65536, 1 << 20]:
            await socket.send(b"m" * size)
            assert len(await socket.recv()) == size


async def fragments_with_control_frames_between(connect):
    async with connect() as socket:
        async def pieces():
            for number in range(50):
                if number % 10 == 0:
                    await (await socket.ping(b"between"))
                yield f"piece {number} "
        await socket.send(pieces())
        assert await socket.recv() == "".join(f"piece {number} " for number in range(50))


async def pings_of_both_ends(connect):
    async with connect(ping_interval=0.05, ping_timeout=5) as socket:
        for size in [0, 1, 125]:
            await asyncio.wait_for(await socket.ping(b"p" * size), 5)
        await asyncio.sleep(0.3)
        await socket.send("alive")
        assert await socket.recv() == "alive"


async def close_codes_of_the_client(connect):
    for code, reason in [(1000, ""), (1001, "leaving"), (3000, "r" * 123), (4999, "own")]:
        async with connect() as socket:
            await socket.close(code, reason)
            assert (socket.close_code, socket.close_reason) == (code, reason), socket.close_code


async def close_codes_of_the_endpoint(connect):
    for code, reason in [(1000, "done"), (1011, "error"), (4000, "\u00e9")]:
        async with connect() as socket:
            await socket.send(f"close {code} {reason}")
            try:
                await socket.recv()
                assert False, "open"
            except websockets.ConnectionClosed:
                assert (socket.close_code, socket.close_reason) == (code, reason), socket.close_code


async def an_end_without_a_close_frame(connect):
    async with connect() as socket:
        await socket.send("break")
        try:
            await asyncio.wait_for(socket.recv(), 10)
            assert False, "open"
        except websockets.ConnectionClosed:
            assert socket.close_code == 1006, socket.close_code


async def path_and_subprotocol(connect):
    async with connect(subprotocols=["other", "chat"]) as socket:
        await socket.send("path")
        # The endpoint's choice, and what it saw.
        assert await socket.recv() == f"/chat?room=1 {socket.subprotocol}"
        assert socket.subprotocol in ("chat", "other")


async def a_slow_reader_gets_all(connect):
    async with connect(max_queue=4, compression=None) as socket:
        await socket.send("count 5000")
        await asyncio.sleep(1)
        for number in range(5000):
            assert (await socket.recv()).startswith(f"{number} ")


async def compression_is_agreed_on_by_the_ends(connect):
    async with connect() as socket:
        assert [extension.name for extension in socket.extensions] == ["permessage-deflate"]
        for message in ["a" * (1 << 20), b"\x00\x01" * (1 << 19)]:
            await socket.send(message)
            assert await socket.recv() == message
    async with connect(compression=None) as socket:
        assert socket.extensions == []
        await socket.send("plain")
        assert await socket.recv() == "plain"


async def a_message_in_frames_of_one_byte(connect):
    async with connect(compression=None) as socket:
        async def pieces():
            for number in range(3000):
                yield bytes([number % 256])
        await socket.send(pieces())
        assert await socket.recv() == bytes(number % 256 for number in range(3000))


async def many_at_once(connect):
    async def one(number):
        async with connect() as socket:
            for turn in range(20):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"
    await asyncio.gather(*(one(number) for number in range(50)))


CASES = [
    text_and_binary,
    sizes_around_the_length_forms,
    fragments_with_control_frames_between,
    pings_of_both_ends,
    close_codes_of_the_client,
    close_codes_of_the_endpoint,
    an_end_without_a_close_frame,
    path_and_subprotocol,
    a_slow_reader_gets_all,
    compression_is_agreed_on_by_the_ends,
    a_message_in_frames_of_one_byte,
    many_at_once,
]


def connecting(uri, authority):
    def connect(**options):
        if authority:
            options["ssl"] = ssl.create_default_context(cafile=authority)
        return websockets.connect(uri, max_size=None, open_timeout=10, **options)

    return connect


async def stay(uri, file, authority=None):
    async with connecting(uri, authority)() as socket:
        number = 0
        while not pathlib.Path(file).exists():
            await socket.send(f"message {number}")
            assert await socket.recv() == f"message {number}"
            number += 1
            print(f"echoed {number}", flush=True)
            await asyncio.sleep(0.02)
        await socket.close(1000, "told to")
    print(f"closed {socket.close_code} {socket.close_reason}", flush=True)


async def check(uri, authority=None):
    connect = connecting(uri, authority)
    passed = 0
    for case in CASES:
        try:
            await asyncio.wait_for(case(connect), 60)
            passed += 1
            print("ok", case.__name__, flush=True)
        except Exception as error:
            print("FAILED", case.__name__, type(error).__name__, error, flush=True)
    print(f"{passed} of {len(CASES)} cases passed", flush=True)


if __name__ == "__main__":
    asyncio.run({"serve": serve, "check": check, "stay": stay}[sys.argv[1]](*sys.argv[2:]))
