"""95 English novels of the years 1839 to 1930: running text for word vectors."""

from __future__ import annotations

import hashlib
import lzma
import re
from pathlib import Path

from dlcore.data import files
from dlcore.data.dataset import DataError

COMMIT = "143e601875d70e195f2cc5ebd8b034609271194d"
SOURCE = (
    f"https://raw.githubusercontent.com/computationalstylistics/100_english_novels/{COMMIT}/corpus/"
)
NAMES = """
Anon_Clara_1864 Barclay_Ladies_1917 Barclay_Postern_1911 Barclay_Rosary_1909 Bennet_Babylon_1902
Bennet_Helen_1910 Bennet_Imperial_1930 Blackmore_Erema_1877 Blackmore_Lorna_1869
Blackmore_Springhaven_1887 Braddon_Audley_1862 Braddon_Phantom_1883 Braddon_Quest_1871
Burnett_Garden_1911 Burnett_Lord_1886 Burnett_Princess_1905 Cbronte_Jane_1847 Cbronte_Shirley_1849
Cbronte_Villette_1853 Chesterton_Innocence_1911 Chesterton_Napoleon_1904 Chesterton_Thursday_1908
Conrad_Almayer_1895 Conrad_Nostromo_1904 Conrad_Rover_1923 Corelli_Innocent_1914
Corelli_Romance_1886 Corelli_Satan_1895 Dickens_Bleak_1853 Dickens_Expectations_1861
Dickens_Oliver_1839 Doyle_Hound_1902 Doyle_Lost_1912 Doyle_Micah_1889 Eliot_Adam_1859
Eliot_Daniel_1876 Eliot_Felix_1866 Ford_Girl_1907 Ford_Post_1926 Ford_Soldier_1915
Galsworthy_Man_1906 Galsworthy_Saints_1919 Gaskell_Lovers_1863 Gaskell_Ruth_1855
Gaskell_Wives_1865 Gissing_Unclassed_1884 Gissing_Warburton_1903 Gissing_Women_1893
Haggard_Mines_1885 Haggard_She_1887 Haggard_Sheallan_1921 Hardy_Jude_1895 Hardy_Madding_1874
Hardy_Tess_1891 James_Ambassadors_1903 James_Roderick_1875 James_Tragic_1890 Kipling_Captains_1896
Kipling_Kim_1901 Kipling_Light_1891 Lawrence_Peacock_1911 Lawrence_Serpent_1926
Lawrence_Women_1920 Lee_Albany_1884 Lee_Brown_1884 Lee_Penelope_1903 Lytton_Kenelm_1873
Lytton_Novel_1853 Lytton_What_1858 Meredith_Feverel_1859 Meredith_Marriage_1895
Meredith_Richmond_1871 Morris_Roots_1890 Morris_Water_1897 Morris_Wood_1894 Schreiner_Farm_1883
Schreiner_Trooper_1897 Schreiner_Undine_1929 Stevenson_Arrow_1888 Stevenson_Catriona_1893
Stevenson_Treasure_1883 Thackeray_Esmond_1852 Thackeray_Pendennis_1850 Thackeray_Virginians_1859
Trollope_Angel_1881 Trollope_Phineas_1869 Trollope_Warden_1855 Ward_Ashe_1905 Ward_Harvest_1920
Ward_Milly_1881 Wcollins_Basil_1852 Wcollins_Legacy_1889 Wcollins_Woman_1860 Woolf_Lighthouse_1927
Woolf_Night_1919
"""
ARCHIVE = "novels.txt.xz"
# Of the unpacked text.
SHA256 = "698f05d9cf690dc2e6e8b128015ada5c34093d9dfeacea2983a13b34b87a4569"

_BYTES = 1 << 27  # the text has 74,922,421
_HEADING = re.compile(r"^=== (\S+) ===\n", re.MULTILINE)


def novels(root: files.Root = None) -> dict[str, str]:
    """The text of each novel by author, title and year: "Cbronte_Jane_1847".

    13.9 million words. In the public domain; two of the hundred in the source are left out since
    they are later, three since their author died in 1970. The file is `novels.txt.xz`: each novel
    follows a line `=== Author_Title_Year ===`. Where there is none, the 95 files of the source are
    downloaded (75 MB) and packed.

    Raises DataError for a missing or damaged file.
    """
    path = files.find(ARCHIVE, files.folders("text", root)) or _downloaded()
    content = _unpacked(path)
    files.check_content(path, content, SHA256, "the novels")
    _, *parts = _HEADING.split(content.decode())
    return dict(zip(parts[::2], parts[1::2], strict=True))


def lower_words(text: str) -> list[str]:
    """The words of a text: what is [a-z]+ in lower case. "Don't" is two, a number is none.

    >>> lower_words("Call me Ishmael. Some years ago--never mind")
    ['call', 'me', 'ishmael', 'some', 'years', 'ago', 'never', 'mind']
    """
    return re.findall("[a-z]+", text.lower())


def _downloaded() -> Path:
    """The file, made of the novels in the source and kept in the user's cache."""
    parts = []
    for name in NAMES.split():
        content = files.fetch("novels", f"{name}.txt", f"{SOURCE}{name}.txt")
        text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").strip()
        parts.append(f"=== {name} ===\n{text}\n\n")
    joined = "".join(parts).encode()
    if hashlib.sha256(joined).hexdigest() != SHA256:
        raise DataError(
            f"novels: {SOURCE} has other texts now; give a folder with {ARCHIVE} as root="
        )
    return files.keep("text", ARCHIVE, lzma.compress(joined, preset=1))


def _unpacked(path: Path) -> bytes:
    """The content of an xz file of about the size expected."""
    decompressor = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
    try:
        content = decompressor.decompress(files.read(path, _BYTES), _BYTES)
    except lzma.LZMAError as error:
        raise files.damaged(path, f"not a sound xz file ({error})") from None
    if not decompressor.eof:
        raise files.damaged(path, f"is cut short, or unpacks to more than {_BYTES:,} bytes")
    return content
