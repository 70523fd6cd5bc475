from __future__ import annotations

import pytest
import torch

from dp3_lightning.anonymize.rendering.pseudonyms import Pseudonyms, style_of
from dp3_lightning.generators import PixelateGenerator, StyleGANUnetAdapter

KEY = "correct horse battery"
PEOPLE = ["person-1", "person-2", "person-10", "anna", "Anna", "anna "]


def same(a: Pseudonyms, b: Pseudonyms, person: str) -> bool:
    return torch.equal(a.latent(person, 16), b.latent(person, 16))


@pytest.fixture(scope="module")
def generator() -> StyleGANUnetAdapter:
    torch.manual_seed(0)
    adapter = StyleGANUnetAdapter("tiny32").eval()
    adapter.net.style_net.w_avg.normal_()
    return adapter


@pytest.mark.parametrize("person", PEOPLE)
def test_two_runs_give_different_people(person: str) -> None:
    assert not same(Pseudonyms(), Pseudonyms(), person)
    assert Pseudonyms().source_of(person) == "secret"


@pytest.mark.parametrize("person", PEOPLE)
def test_a_run_that_goes_on_with_its_secret_gives_the_same_people(person: str) -> None:
    assert same(Pseudonyms(secret=b"s" * 32), Pseudonyms(secret=b"s" * 32), person)
    assert not same(Pseudonyms(secret=b"s" * 32), Pseudonyms(secret=b"t" * 32), person)


@pytest.mark.parametrize("person", PEOPLE)
def test_a_seed_repeats_whatever_the_secret(person: str) -> None:
    assert same(Pseudonyms(seed=3), Pseudonyms(seed=3), person)
    assert not same(Pseudonyms(seed=3), Pseudonyms(seed=4), person)
    assert same(Pseudonyms(seed=0), Pseudonyms(seed=0), person)  # 0 is a seed like any other
    assert not same(Pseudonyms(seed=0), Pseudonyms(secret=b"s" * 32), person)
    assert Pseudonyms(seed=0).source_of(person) == "seed"


def test_a_key_is_for_people_with_a_label_of_their_own() -> None:
    first, second = Pseudonyms(key=KEY), Pseudonyms(key=KEY)
    for person in ["anna", "Anna", "person-1b", "person-", "guest person-1"]:
        assert first.source_of(person) == "key"
        assert same(first, second, person)
        assert not same(first, Pseudonyms(key=KEY + "!"), person)
        assert not same(first, Pseudonyms(), person)
    for person in ["person-1", "person-27"]:
        assert first.source_of(person) == "secret"
        assert not same(first, second, person)


@pytest.mark.parametrize("key", ["", "1234567", "elevenchars"])
def test_keys_that_can_be_found_by_trying_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=rf"at least 12 characters, got {len(key)}") as caught:
        Pseudonyms(key=key)
    assert not key or key not in str(caught.value)
    Pseudonyms(key="twelve chars")


@pytest.mark.parametrize("seed", [0, 5])
def test_seed_and_key_together_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match="`seed` or `pseudonym_key`, not both"):
        Pseudonyms(seed=seed, key=KEY)


def test_neither_key_nor_secret_is_shown() -> None:
    shown = repr(Pseudonyms(key=KEY, secret=b"hidden bytes")) + str(Pseudonyms(key=KEY))
    assert KEY not in shown
    assert "hidden" not in shown


def test_latents_are_normal_and_independent_of_each_other() -> None:
    pseudonyms = Pseudonyms(seed=1)
    z = torch.cat([pseudonyms.latent(f"person-{i}", 64) for i in range(400)])
    assert z.shape == (400, 64)
    assert z.dtype == torch.float32
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    # The share within one standard deviation tells a normal from a uniform distribution.
    assert (z.abs() < 1).float().mean() == pytest.approx(0.683, abs=0.01)
    assert (z.std(dim=0) - 1).abs().max() < 0.2
    cosines = torch.nn.functional.normalize(z) @ torch.nn.functional.normalize(z).T
    cosines.fill_diagonal_(0)
    assert cosines.abs().max() < 0.65


@pytest.mark.parametrize("pseudonyms", [Pseudonyms(seed=1), Pseudonyms(key=KEY), Pseudonyms()])
def test_every_label_is_a_person_of_its_own(pseudonyms: Pseudonyms) -> None:
    latents = {tuple(pseudonyms.latent(person, 16)[0].tolist()) for person in PEOPLE}
    assert len(latents) == len(PEOPLE)


def test_who_else_is_asked_for_changes_nobody() -> None:
    pseudonyms = Pseudonyms(seed=1)
    alone = pseudonyms.latent("anna", 16)
    pseudonyms.latent("ben", 16)
    pseudonyms.center("anna", 5)
    assert torch.equal(pseudonyms.latent("anna", 16), alone)
    state = torch.get_rng_state()
    pseudonyms.latent("anna", 16)
    assert torch.equal(torch.get_rng_state(), state)


def test_truncation_pulls_to_the_average(generator: StyleGANUnetAdapter) -> None:
    pseudonyms = Pseudonyms(seed=2)
    average = generator.net.style_net.w_avg[None]
    own = generator.map_latents(pseudonyms.latent("anna", generator.z_dim))
    assert torch.equal(style_of("anna", pseudonyms, generator), own)
    assert torch.equal(style_of("anna", pseudonyms, generator, 1.0), own)
    torch.testing.assert_close(style_of("anna", pseudonyms, generator, 0.0), average)
    quarter = style_of("anna", pseudonyms, generator, 0.25)
    torch.testing.assert_close(quarter, average + 0.25 * (own - average))
    assert not quarter.requires_grad


def test_people_have_styles_of_their_own(generator: StyleGANUnetAdapter) -> None:
    styles = [style_of(f"person-{i}", Pseudonyms(seed=2), generator, 0.7) for i in range(4)]
    for i in range(4):
        for j in range(i):
            assert not torch.allclose(styles[i], styles[j], atol=1e-3)


@pytest.mark.parametrize("truncation", [0.5, 1.0])
def test_typical_people_are_needed_to_pull_to_them(
    generator: StyleGANUnetAdapter, truncation: float
) -> None:
    with pytest.raises(ValueError, match=r"no typical people.*`multi_modal: false`"):
        style_of("anna", Pseudonyms(), generator, truncation, multi_modal=True)


def test_everybody_is_pulled_to_one_typical_person() -> None:
    adapter = StyleGANUnetAdapter("tiny32").eval()
    centers = torch.randn(4, adapter.net.w_dim)
    adapter.net.style_net.set_centers(centers)
    pseudonyms = Pseudonyms(key=KEY)
    found = set()
    for i in range(60):
        person = f"guest {i}"
        style = style_of(person, pseudonyms, adapter, 0.0, multi_modal=True)
        number = int((centers - style).norm(dim=1).argmin())
        torch.testing.assert_close(style, centers[number][None])
        again = style_of(person, Pseudonyms(key=KEY), adapter, 0.0, multi_modal=True)
        assert torch.equal(again, style)
        own = adapter.map_latents(pseudonyms.latent(person, adapter.z_dim))
        half = style_of(person, pseudonyms, adapter, 0.5, multi_modal=True)
        torch.testing.assert_close(half, (centers[number] + own) / 2)
        found.add(number)
    assert found == {0, 1, 2, 3}


def test_without_an_average_there_is_no_truncation() -> None:
    plain = PixelateGenerator((32, 32), 4)
    plain.z_dim = 16
    with pytest.raises(ValueError, match=r"average style.*`truncation: 1`"):
        style_of("anna", Pseudonyms(), plain, 0.5)
    assert torch.equal(
        style_of("anna", Pseudonyms(seed=1), plain), Pseudonyms(seed=1).latent("anna", 16)
    )


@pytest.mark.parametrize("byte", range(0, 32, 3))
def test_every_part_of_the_digest_decides_the_latent(
    byte: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latent of 32 bits could be found by trying all of them."""
    digest = bytes(range(32))
    monkeypatch.setattr(Pseudonyms, "_digest", lambda *_: digest)
    before = Pseudonyms().latent("anna", 16)
    digest = digest[:byte] + bytes([digest[byte] ^ 1]) + digest[byte + 1 :]
    assert not torch.allclose(Pseudonyms().latent("anna", 16), before)
