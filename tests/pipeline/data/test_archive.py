"""A .zip or .tar of folders: the same data set as the folder, and one line for what is not safe."""

import io
import shutil
import stat
import tarfile
import zipfile

import pytest
from pictures import fill

from pipeline.cli import run
from pipeline.data.archive import unpacked
from pipeline.data.registry import load, load_pixels
from pipeline.errors import UsageError

FORMATS = {"zip": ".zip", "tar": ".tar", "gztar": ".tar.gz", "bztar": ".tar.bz2", "xztar": ".tar.xz"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("archives") / "photos", per_class=12, width=16, height=16)


@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_is_the_data_set_of_its_folder(folder, tmp_path, cache_folder, kind):
    archive = shutil.make_archive(str(tmp_path / "photos"), kind, folder.parent, folder.name)
    assert archive.endswith(FORMATS[kind])
    spec = load(archive).spec
    assert spec.fingerprint == load(str(folder)).spec.fingerprint
    assert (spec.name, spec.source) == ("photos", archive)


def test_an_archive_is_unpacked_once_and_again_when_it_changes(folder, tmp_path, cache_folder):
    archive = tmp_path / "photos.zip"
    shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    first = unpacked(archive)
    before = {path: path.stat().st_mtime_ns for path in first.rglob("*")}
    assert unpacked(archive) == first
    assert {path: path.stat().st_mtime_ns for path in first.rglob("*")} == before
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("more/note.txt", "x")
    second = unpacked(archive)
    assert (second / "more" / "note.txt").read_text() == "x"
    assert list((cache_folder / "archives").glob("*/*")) == [second]


def test_an_archives_address_divides_and_nests(folder, tmp_path, cache_folder):
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", folder)
    assert load(f"{archive}?split=50/25/25").num_examples("all") == 24
    nested = tmp_path / "n.zip"
    with zipfile.ZipFile(nested, "w") as opened:
        for place in ("Aves/wren", "Aves/robin", "Mammalia/fox"):
            opened.writestr(f"{place}/0.jpg", b"x")
    with pytest.raises(UsageError, match=r"n\.zip\?classes=leaf"):
        load(str(nested))


def test_an_archive_of_loose_images_calibrates(folder, tmp_path, cache_folder):
    archive = shutil.make_archive(str(tmp_path / "loose"), "zip", folder / "cat")
    dataset = load_pixels(archive)
    assert dataset.num_examples("train") == 12
    assert dataset.spec.class_names == ("loose",)


def zip_with(path, name, *, mode=None, content=b"x"):
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    if mode is not None:
        entry.external_attr = mode << 16
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(entry, content)
    return path


def tar_with(path, name, *, kind=tarfile.REGTYPE, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    with tarfile.open(path, "w") as opened:
        opened.addfile(entry, io.BytesIO(b""))
    return path


LINK, OUT = "a link or a device", "leads out of its folder"
UNSAFE = {
    "a way out of a zip": (lambda root: zip_with(root / "a.zip", "../out.jpg"), OUT),
    "an absolute name": (lambda root: zip_with(root / "a.zip", "/tmp/out.jpg"), OUT),
    "a drive": (lambda root: zip_with(root / "a.zip", "C:\\out.jpg"), OUT),
    "a backslash": (lambda root: zip_with(root / "a.zip", "..\\out.jpg"), OUT),
    "a link in a zip": (lambda root: zip_with(root / "a.zip", "l", mode=stat.S_IFLNK | 0o777), LINK),
    "a way out of a tar": (lambda root: tar_with(root / "a.tar", "cat/../../out.jpg"), "leads out"),
    "a link in a tar": (
        lambda root: tar_with(root / "a.tar", "l", kind=tarfile.SYMTYPE, target="/etc"), LINK
    ),
    "a hard link": (
        lambda root: tar_with(root / "a.tar", "l", kind=tarfile.LNKTYPE, target="/etc/passwd"), LINK
    ),
    "a device": (lambda root: tar_with(root / "a.tar", "l", kind=tarfile.CHRTYPE), LINK),
    "a bomb": (
        lambda root: zip_with(root / "a.zip", "cat/0.jpg", content=bytes(30_000_000)), "would become more"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", UNSAFE)
def test_what_is_not_safe_is_one_line_and_leaves_nothing(tmp_path, cache_folder, capsys, what):
    make, told = UNSAFE[what]
    assert run(["data", str(make(tmp_path))]) == 2
    err = capsys.readouterr().err
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]
    assert not (tmp_path / "out.jpg").exists()


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_archive_is_one_line(folder, tmp_path, cache_folder, ending, share):
    kind = next(each for each, known in FORMATS.items() if known == ending)
    archive = tmp_path / f"photos{ending}"
    shutil.make_archive(str(tmp_path / "photos"), kind, folder)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * share)])
    with pytest.raises(UsageError, match="It may be truncated"):
        load(str(archive))
    assert not [path for path in cache_folder.rglob("*") if path.is_file()]
