"""The InfluxDB sink: queued lines to whichever server answers.

Rules of the file: the queue is in the result store, durable and bounded; a request is
repeated until the server has taken it (writing a line again changes nothing), with
back-off and with the server's own Retry-After; what the server refuses for good is
found by halving the batch and set aside, so one bad line costs only itself. Points that
are no longer true are deleted, or voided where the server cannot delete.
"""

import logging

import msgspec

from gateway.database import sync_log
from gateway.influx_erase import Erasure
from gateway.influx_writers import LinesRefusedError, ServerAwayError, Writer, choose_writer
from gateway.result_store import ResultStore
from gateway.settings import InfluxSettings

_LOG = logging.getLogger(__name__)
IDLE_S = 1.0
BACK_OFF_MIN_S = 1.0
BACK_OFF_MAX_S = 60.0
RETRY_AFTER_MAX_S = 600.0


class InfluxSink:
    """Takes lines from the result store to the server, oldest first.

    Parameters
    ----------
    settings : the ``[influxdb]`` table
    results : where the lines wait
    """

    def __init__(self, settings: InfluxSettings, results: ResultStore) -> None:
        self._settings = settings
        self._results = results
        self._writer: Writer | None = None
        self._back_off_s = BACK_OFF_MIN_S
        self._told_away = False
        self.requests = 0

    @property
    def server(self) -> str | None:
        """What the server was found to be, None while it has not answered."""
        return self._writer.name if self._writer else None

    def flush_once(self) -> float:
        """Write one batch; return the seconds to wait before the next call, 0 = at once.

        Raises nothing that a server can cause.
        """
        found = self._results.next_lines(self._settings.batch_lines)
        if not found.lines:
            return IDLE_S
        try:
            if self._writer is None:
                self._writer = choose_writer(self._settings)
                _LOG.info("InfluxDB found (%s)", self._writer.name)
            # What a power cut could still take back must not be told: nothing would erase it.
            sync_log(self._results.path)
            refused: list[tuple[bytes, str]] = []
            if found.is_erasure:
                self._erase(self._writer, found.body.split(b"\n"))
            else:
                self._write(self._writer, found.body.split(b"\n"), refused)
        except ServerAwayError as error:
            return self._wait_for_server(error)
        except OSError as error:
            return self._wait_for_server(ServerAwayError(f"the disk fails: {error.strerror}"))
        written = 0 if found.is_erasure else found.lines - len(refused)
        self._results.lines_sent(found.up_to_id, written, refused)
        if refused:
            _LOG.warning(
                "InfluxDB refused %d of %d lines for good; they are set aside",
                len(refused),
                found.lines,
            )
        if self._told_away:
            self._told_away = False
            _LOG.info("InfluxDB recovered")
        self._back_off_s = BACK_OFF_MIN_S
        return 0.0

    def close(self) -> None:
        """Let go of connections."""
        if self._writer is not None:
            self._writer.close()

    def _write(self, writer: Writer, lines: list[bytes], refused: list[tuple[bytes, str]]) -> None:
        self.requests += 1
        try:
            writer.write(b"\n".join(lines))
        except LinesRefusedError as error:
            if len(lines) == 1:
                refused.append((lines[0], str(error)[:300]))
                return
            half = len(lines) // 2
            self._write(writer, lines[:half], refused)
            self._write(writer, lines[half:], refused)

    def _erase(self, writer: Writer, lines: list[bytes]) -> None:
        self.requests += 1
        erasures = [msgspec.json.decode(line, type=Erasure) for line in lines]
        try:
            writer.erase(erasures)
        except LinesRefusedError as error:
            _LOG.warning("InfluxDB does not delete (%s); the points are voided instead", error)
            void: list[tuple[bytes, str]] = []
            self._write(writer, [each.void.encode() for each in erasures], void)

    def _wait_for_server(self, error: ServerAwayError) -> float:
        if not self._told_away:
            self._told_away = True
            _LOG.warning("InfluxDB takes nothing now (%s); lines wait on disk", error)
        if self._writer is not None:
            self._writer.close()
            self._writer = None  # it may come back as another version
        wait_s = self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, BACK_OFF_MAX_S)
        if error.retry_after_s is not None:
            return min(error.retry_after_s, RETRY_AFTER_MAX_S)
        return wait_s
