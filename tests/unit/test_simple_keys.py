"""The keys of the simplest values: those that their conditions have."""

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.rulefile.fields import RULE_FIELDS
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.adapters.rulefile.simple_keys import simple_keys
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core.rule_keys import KeyFinder, PlacedKeys

_KNOWN = Known(Names(lambda _: None, lambda _: frozenset()), {})
_octets = st.sampled_from(["0", "1", "10", "128", "192", "255", "256", "01", ""])
_addresses = st.lists(_octets, min_size=3, max_size=5).map(".".join)
_lengths = st.sampled_from(["", "/0", "/8", "/24", "/25", "/31", "/32", "/33", "/08", "/", "/x"])
_ports = st.integers(-1, 70_000).map(str) | st.sampled_from(["00", "080", "1-2", "http", "", "٣"])
_texts = st.tuples(_addresses, _lengths).map("".join) | _ports


def keys_of_condition(field: str, text: str) -> PlacedKeys | None:
    """Return those of the condition; None: the text is refused."""
    try:
        parsed = list(RULE_FIELDS[field].parse(text, _KNOWN))
    except Refused:
        return None
    return KeyFinder().key_of(RULE_FIELDS[field].condition(parsed, False))  # noqa: FBT003


@given(st.sampled_from(["dport", "daddr", "saddr", "sport", "exe", "uid"]), _texts)
def test_what_is_simple_has_the_keys_of_its_condition(field: str, text: str) -> None:
    keys = simple_keys(field, text)

    assert keys is None or keys == keys_of_condition(field, text)


def test_a_port_an_address_and_a_block_are_simple() -> None:
    for field, text in (("dport", "443"), ("daddr", "192.0.2.1"), ("saddr", "0.0.0.0/0")):
        assert simple_keys(field, text) is not None
