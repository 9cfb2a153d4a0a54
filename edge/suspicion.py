"""Finds the batch for which a broker closes the connection, so that it does not loop for ever.

Rules of the file: no clock, no network. A connection that is lost soon, with packets that the
broker has not taken, proves nothing by itself: brokers restart. After `LOSSES` of them the
agent is careful, one packet at a time; a batch that was alone out at `STRIKES` losses in a row
is passed over; and it is given up only when a shorter one of its kind has been taken since, so
that a broker which refuses all (a wrong access list) costs no data. (A client that repeats a
packet over mosquitto's ``max_packet_size`` loops for ever: reference, reliability 2.1.)
"""

from collections.abc import Sequence

from edge.flight import Sent

LOSSES = 2
STRIKES = 3
SOON_S = 10.0


class Suspicion:
    """What is known against batches.

    Parameters
    ----------
    careful_for : packets that must pass one by one before the agent is at ease again

    Attributes
    ----------
    passed_over : batches that are not sent now, by id
    convicted : those of them that can be given up
    """

    def __init__(self, careful_for: int) -> None:
        self._careful_for = careful_for
        self._careful = self._losses = self._strikes = 0
        self._blamed = 0
        self.passed_over: dict[int, Sent] = {}
        self.convicted: list[Sent] = []

    @property
    def is_careful(self) -> bool:
        """Whether one packet at a time may be out."""
        return self._careful > 0

    def lost(self, untaken: Sequence[Sent], lived_s: float) -> Sent | None:
        """Note that the connection is gone.

        Parameters
        ----------
        untaken : what the broker had not taken, in the order of sending
        lived_s : [s] how long the connection was there

        Returns
        -------
        sent : the batch that is passed over from now on, if one is
        """
        if lived_s >= SOON_S:
            self._losses = 0
        if not untaken:
            return None
        self._losses += 1
        if not self.is_careful:
            if self._losses >= LOSSES:
                self._careful = self._careful_for
            return None
        alone = untaken[0]
        self._strikes = self._strikes + 1 if alone.id == self._blamed else 1
        self._blamed = alone.id
        if self._strikes < STRIKES:
            return None
        self._strikes = 0
        self.passed_over[alone.id] = alone
        return alone

    def taken(self, sent: Sent) -> None:
        """Note that the broker has taken a batch.

        Parameters
        ----------
        sent : the batch
        """
        self._careful = max(0, self._careful - 1)
        if sent.id == self._blamed:
            self._strikes = 0
        known = {convict.id for convict in self.convicted}
        self.convicted += [
            suspect
            for suspect in self.passed_over.values()
            if suspect.kind == sent.kind and suspect.size > sent.size and suspect.id not in known
        ]

    def close(self, sent: Sent) -> None:
        """Forget a batch that was given up, or is not there any more.

        Parameters
        ----------
        sent : the batch
        """
        self.passed_over.pop(sent.id, None)
        self.convicted = [other for other in self.convicted if other.id != sent.id]
