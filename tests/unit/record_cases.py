# SPDX-License-Identifier: ISC
"""Records on both Pythons: what a dataclass would do, they do."""

from runtime.record import mutable, record


@record("mac ipv4")
class Seen:
    """A client, and perhaps its address."""

    mac: bytes
    ipv4: bytes | None = None


@record("mac ipv4")
class Gone:
    mac: bytes
    ipv4: bytes | None = None


@record("low high")
class Span:
    low: int
    high: int = 9

    def __post_init__(self):
        if self.low > self.high:
            raise ValueError("%d is above %d" % (self.low, self.high))

    def width(self):
        return self.high - self.low


@record()
class Tick:
    """Nothing in it."""


@mutable("name left")
class Counter:
    """What changes."""

    kind = "counter"
    name: str
    left: int = 3

    @property
    def is_over(self):
        return self.left <= 0


def raises(kind, does, *arguments, **named):
    try:
        does(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError("%s was not raised" % kind)


def case_record_is_built_by_place_by_name_and_by_default():
    for one in (Seen(b"a", b"b"), Seen(b"a", ipv4=b"b"), Seen(ipv4=b"b", mac=b"a")):
        assert (one.mac, one.ipv4) == (b"a", b"b")
    assert Seen(b"a").ipv4 is None
    assert (Span(1).low, Span(1).high, Span(1).width()) == (1, 9, 8)
    Tick()


def case_record_refuses_what_it_has_no_field_for():
    raises(TypeError, Seen)
    raises(TypeError, Seen, b"a", b"b", b"c")
    raises(TypeError, Seen, b"a", port=1)
    raises(TypeError, Tick, 1)


def case_record_may_refuse_values():
    assert str(raises(ValueError, Span, 10)) == "10 is above 9"


def case_record_equals_one_of_its_type_with_equal_values():
    assert Seen(b"a") == Seen(b"a", None) and not Seen(b"a") != Seen(b"a")
    assert Tick() == Tick()
    for other in (Seen(b"b"), Seen(b"a", b"b"), Gone(b"a"), Tick(), (b"a", None), b"a", None):
        assert Seen(b"a") != other and other != Seen(b"a") and not Seen(b"a") == other
    assert [Seen(b"a"), Gone(b"b")] == [Seen(b"a"), Gone(b"b")] != [Gone(b"a"), Gone(b"b")]


def case_record_is_found_in_sets_and_dicts():
    assert Seen(b"a") in {Seen(b"a")} and Gone(b"a") not in {Seen(b"a")}
    assert {Seen(b"a"): 1, Gone(b"a"): 2, Tick(): 3}[Gone(b"a")] == 2


def case_record_prints_its_fields():
    assert repr(Seen(b"a")) == "Seen(mac=b'a', ipv4=None)"
    assert repr(Tick()) == "Tick()"


def case_mutable_changes_and_equals_nothing_but_itself():
    one, other = Counter("a"), Counter("a", left=3)
    one.left -= 3
    assert (one.left, one.is_over, other.left, other.is_over, one.kind) == (0, True, 3, False, "counter")
    assert one == one and Counter("a") != Counter("a") and len({one, other}) == 2
    assert repr(one) == "Counter(name='a', left=0)"
    raises(TypeError, Counter)
