"""Seeds named by their purpose."""

from itertools import product

from arith_model.seeds import derive_seed
from arith_prober.seeds import generator


def test_a_seed_is_the_same_on_every_machine_and_in_every_version():
    # SHA-256 of "7/mlp/2/10/A", first 8 bytes, without the last bit; by any other program.
    assert derive_seed(7, "mlp", 2, 10, "A") == 1197963107901677661


def test_no_two_cells_share_a_seed():
    cells = list(product(range(3), ("mlp", "ridge"), range(30), range(50), "ABC"))
    assert len({derive_seed(*cell) for cell in cells}) == len(cells)


def test_a_generator_starts_afresh_each_time():
    assert generator(1, "bootstrap").random() == generator(1, "bootstrap").random()
    assert generator(1, "bootstrap").random() != generator(1, "control").random()
