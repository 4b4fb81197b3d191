"""WebSocket over HTTP/2 (RFC 8441) with the libraries h2 and wsproto: websocket_h2.py ADDRESS PORT CA

Streams of one TLS connection, as a browser has them. Prints a line for each case, and how many passed.
"""

import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import wsproto.connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage


class Client:
    """One connection; each of its streams is a WebSocket."""

    def __init__(self, address, port, authority):
        context = ssl.create_default_context(cafile=authority)
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection((address, port), 10), server_hostname=address)
        self.socket.settimeout(60)
        assert self.socket.selected_alpn_protocol() == "h2"
        self.name = f"{address}:{port}"
        self.http2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.statuses, self.sockets, self.heard, self.ended = {}, {}, {}, set()
        # Streams whose reader waits, and how much they brought: their window stays as it is meanwhile.
        self.waits = {}
        self.flush()
        self.until(lambda: self.http2.remote_settings.enable_connect_protocol == 1)

    def flush(self):
        self.socket.sendall(self.http2.data_to_send())

    def until(self, is_true):
        while not is_true():
            data = self.socket.recv(65536)
            assert data, "the connection ended"
            for event in self.http2.receive_data(data):
                self.hear(event)
            self.flush()

    def hear(self, event):
        stream = getattr(event, "stream_id", 0)
        if isinstance(event, h2.events.ResponseReceived):
            self.statuses[stream] = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            if stream in self.waits:
                self.waits[stream] += event.flow_controlled_length
                # The connection's window is everybody's.
                if event.flow_controlled_length:
                    self.http2.increment_flow_control_window(event.flow_controlled_length)
            else:
                self.http2.acknowledge_received_data(event.flow_controlled_length, stream)
            # The frame that ends the stream is empty.
            if event.data:
                self.sockets[stream].receive_data(event.data)
                self.heard[stream] += self.sockets[stream].events()
        elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
            self.ended.add(stream)

    def open(self, path="/chat?room=1"):
        stream = self.http2.get_next_available_stream_id()
        head = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", self.name)]
        head += [(":path", path), ("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")]
        self.http2.send_headers(stream, head)
        self.sockets[stream] = wsproto.connection.Connection(wsproto.connection.ConnectionType.CLIENT)
        self.heard[stream] = []
        self.flush()
        self.until(lambda: stream in self.statuses)
        return stream

    def send(self, stream, event):
        data = self.sockets[stream].send(event)
        while data:
            self.until(lambda: self.http2.local_flow_control_window(stream) > 0)
            size = min(self.http2.local_flow_control_window(stream), self.http2.max_outbound_frame_size)
            self.http2.send_data(stream, data[:size])
            data = data[size:]
            self.flush()

    def reads(self, stream):
        """Its reader waits no more."""
        self.http2.increment_flow_control_window(self.waits.pop(stream), stream)
        self.flush()

    def message(self, stream):
        """The next message, whole."""
        parts = []
        while True:
            self.until(lambda: self.heard[stream])
            event = self.heard[stream].pop(0)
            assert isinstance(event, (TextMessage, BytesMessage)), event
            parts.append(event.data)
            if event.message_finished:
                return type(event.data)().join(parts)

    def closed(self, stream):
        self.until(lambda: self.heard[stream])
        event = self.heard[stream].pop(0)
        assert isinstance(event, CloseConnection), event
        return event


def text_and_binary(client):
    stream = client.open()
    assert client.statuses[stream] == "200", client.statuses
    for data in ["a", "\u00e9\u4e16" * 100]:
        client.send(stream, TextMessage(data=data))
        assert client.message(stream) == data
    for size in [1, 126, 65536, 1 << 20]:
        client.send(stream, BytesMessage(data=b"m" * size))
        assert client.message(stream) == b"m" * size


def path_and_subprotocol(client):
    stream = client.open()
    client.send(stream, TextMessage(data="path"))
    assert client.message(stream) == "/chat?room=1 chat"


def fragments_with_control_frames_between(client):
    stream = client.open()
    for number in range(20):
        client.send(stream, TextMessage(data=f"piece {number} ", message_finished=number == 19))
        client.send(stream, Ping(payload=b"between")) if number < 19 else None
    pongs = []
    while len(pongs) < 19:
        client.until(lambda: client.heard[stream])
        pongs.append(client.heard[stream].pop(0))
    assert all(isinstance(pong, Pong) and pong.payload == b"between" for pong in pongs), pongs
    assert client.message(stream) == "".join(f"piece {number} " for number in range(20))


def close_codes_of_both_ends(client):
    stream = client.open()
    client.send(stream, CloseConnection(code=3000, reason="leaving"))
    assert client.closed(stream).code == 3000
    client.until(lambda: stream in client.ended)
    stream = client.open()
    client.send(stream, TextMessage(data="close 4000 done"))
    event = client.closed(stream)
    assert (event.code, event.reason) == (4000, "done")
    client.send(stream, event.response())
    client.until(lambda: stream in client.ended)


def an_end_without_a_close_frame_ends_the_stream_alone(client):
    other, stream = client.open(), client.open()
    client.send(stream, TextMessage(data="break"))
    client.until(lambda: stream in client.ended)
    client.send(other, TextMessage(data="still here"))
    assert client.message(other) == "still here"


def many_at_once(client):
    streams = [client.open() for _ in range(50)]
    for turn in range(5):
        for stream in streams:
            client.send(stream, TextMessage(data=f"{stream} {turn}"))
        for stream in reversed(streams):
            assert client.message(stream) == f"{stream} {turn}"


def a_reader_that_waits_holds_up_nobody(client):
    slow, quick = client.open(), client.open()
    client.waits[slow] = 0
    window = client.http2.remote_flow_control_window(slow)
    client.send(slow, TextMessage(data="count 2000"))
    for turn in range(50):
        client.send(quick, TextMessage(data=f"turn {turn}"))
        assert client.message(quick) == f"turn {turn}"
    # All that may come has come: the gateway waits, not only the reader.
    client.until(lambda: client.waits[slow] == window)
    client.send(quick, TextMessage(data="still here"))
    assert client.message(quick) == "still here"
    client.reads(slow)
    for number in range(2000):
        assert client.message(slow).startswith(f"{number} ")


CASES = [
    text_and_binary,
    path_and_subprotocol,
    fragments_with_control_frames_between,
    close_codes_of_both_ends,
    an_end_without_a_close_frame_ends_the_stream_alone,
    many_at_once,
    a_reader_that_waits_holds_up_nobody,
]

passed = 0
for case in CASES:
    try:
        case(Client(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
        passed += 1
        print("ok", case.__name__, flush=True)
    except Exception as error:
        print("FAILED", case.__name__, type(error).__name__, error, flush=True)
print(f"{passed} of {len(CASES)} cases passed", flush=True)
