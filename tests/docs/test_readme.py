"""The README's Python blocks run as they stand, one after the other, and its table is that of the results."""

from tests.helpers.markdown_files import README, blocks, run_python


def test_python_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(blocks(README, "python")) >= 3
    run_python(README)
    assert "log p(x) = " in capsys.readouterr().out
    assert (tmp_path / "runs/laplace/checkpoint.pt").exists()


def test_is_of_two_screens():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120
