"""Looking at ports of this machine: whether one is free.

Rules of the file: what is wrong is raised as one sentence.
"""

import socket


def free_port(bind: str, port: int) -> str:
    """Find out whether an HTTP port can be used.

    Parameters
    ----------
    bind, port : the address; port 0 is always free

    Raises
    ------
    OSError
        The port is in use, or this address is not of this machine.
    """
    family, kind, _, _, address = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen(1)
        except OSError as error:
            reason = (error.strerror or "refused").lower()
            raise OSError(error.errno, f"{bind}:{port} cannot be used ({reason})") from error
    return f"{bind}:{port} is free"
