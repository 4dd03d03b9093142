"""The README's Python blocks run as they stand, one after the other."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_python_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) >= 3
    namespace = {}
    for block in blocks:
        exec(compile(block.replace("epochs=20", "epochs=2").replace("=1000", "=50"), "README.md", "exec"), namespace)
    assert "log p(x) = " in capsys.readouterr().out
    assert (tmp_path / "runs/laplace/checkpoint.pt").exists()


def test_names_in_the_table_of_parts_exist():
    import pyro_vaes as pv

    for package, names in re.findall(r"\| `pv\.(\w+)` \| (.*) \|", README.read_text(encoding="utf-8")):
        part = getattr(pv, package)
        for name in re.findall(r"`(\w+)`", names):
            assert callable(part) or hasattr(part, name), f"README names pv.{package}.{name}"
