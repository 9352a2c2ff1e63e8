"""Files dated in the future are found and dated now, the others stay as they are."""

import os
import time

from hsac.ops import file_dates


def test_only_future_dates_are_changed(tmp_path) -> None:
    dated = {"past": -9e6, "now": 0.0, "skewed": 30.0, "future": 9e6}
    for name, offset in dated.items():
        path = tmp_path / "deep" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
        os.utime(path, (time.time() + offset,) * 2)
    (tmp_path / "deep/link").symlink_to(tmp_path / "nowhere")
    before = {path.name: path.lstat().st_mtime for path in (tmp_path / "deep").iterdir()}
    assert [path.name for path in file_dates.ahead([tmp_path, tmp_path / "missing"])] == ["future"]
    assert file_dates.redate([tmp_path, tmp_path / "missing"]) == 1
    after = {path.name: path.lstat().st_mtime for path in (tmp_path / "deep").iterdir()}
    assert abs(after.pop("future") - time.time()) < 30
    assert after == {name: when for name, when in before.items() if name != "future"}
    assert file_dates.redate([tmp_path]) == 0
