"""A broker of a few lines, for tests of who looks at one."""

import contextlib
import socket
import threading


@contextlib.contextmanager
def fake_broker(answer=b"\x20\x02\x00\x00"):
    """Listens, keeps what the first client sends, answers with given bytes."""
    server = socket.create_server(("127.0.0.1", 0))
    received = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection:
                    received.append(connection.recv(1000))
                    connection.sendall(answer)
                    connection.recv(100)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1], received
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(5)
