"""Tags that the store file names, in the form in which they arrive: as pseudonyms."""

import dataclasses

from analytics.store import Store
from ingest.identifiers import pseudonym


def with_pseudonymous_staff(store: Store, key: bytes) -> Store:
    """Return the store with each staff tag both as it stands and as its pseudonym.

    Parameters
    ----------
    store : as read
    key : the store's key
    """
    both = dict.fromkeys(store.staff_tags) | dict.fromkeys(
        pseudonym(tag, key) for tag in store.staff_tags
    )
    return dataclasses.replace(store, staff_tags=tuple(both))
