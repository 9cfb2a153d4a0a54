"""Staff tags are known as they stand and as their pseudonyms."""

from gateway.store_tags import with_pseudonymous_staff
from ingest.identifiers import pseudonym
from tests.ingest.small_store import small_store

KEY = b"0123456789abcdef"


def test_each_staff_tag_is_known_in_both_forms(tmp_path):
    store = small_store(tmp_path)
    assert ("name:anna",) == store.staff_tags
    both = with_pseudonymous_staff(store, KEY)
    assert ("name:anna", pseudonym("name:anna", KEY)) == both.staff_tags
    assert both.staff_tags == with_pseudonymous_staff(both, KEY).staff_tags
    assert store.zones == both.zones
