"""One value for a provider that has several tokens."""

from tokenkeeper.integrations._worst_values import WorstValues


def test_the_worst_of_a_provider():
    """The worst value is that of the tokens that are left; a provider without any has none."""
    values = WorstValues(min)
    for name, value in (("a", 2.0), ("b", 1.0), ("c", 3.0), ("b", 4.0)):
        values.set("api", name, value)
    values.set("other", "d", 9.0)
    assert (values.get("api", "b"), values.of("api")) == (4.0, 2.0)
    values.drop("api", "a")
    values.drop("api", "unknown")
    values.drop("unknown", "a")
    assert values.all() == [("api", 3.0), ("other", 9.0)]
    values.drop("other", "d")
    assert (values.of("other"), values.get("other", "d")) == (None, None)
    values.drop_provider("api")
    assert values.all() == []


def test_a_change_looks_at_one_token():
    """A change costs the same with one token as with thousands: values are compared when asked."""
    compared = []
    values = WorstValues(lambda each: compared.append(1) or min(each))
    for number in range(100):
        values.set("api", f"a{number}", float(number))
        values.drop("api", f"a{number - 2}")
    assert not compared
    assert (values.of("api"), len(compared)) == (98.0, 1)


def test_read_while_it_changes():
    """A reader on another thread may come between any two steps of a change."""
    values = WorstValues(min)

    class Changing(dict):
        def copy(self):
            copied = super().copy()
            for name in copied:
                values.drop(name, "a")
                values.set("another", name, 1.0)
            return copied

    values._values = Changing()
    values.set("first", "a", 1.0)
    values.set("second", "a", 2.0)
    assert values.all() == []
