"""The codes of countries: ISO 3166-1 alpha-2, and XK for Kosovo. Pure.

Databases, CDNs and people also write codes that are not countries: EU and AP (registries'
regions), XX and ZZ (unknown), UK and AN (reserved or withdrawn), A1 and A2 (proxies), T1
(Tor). None of them is in the list, so all of them count as unknown.
"""

# The codes of geodata/countries.csv; a test compares the two.
COUNTRY_CODES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ
    BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM
    DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS
    GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN
    KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ
    MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV
    SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI
    VN VU WF WS XK YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - 250 quoted codes are harder to read
)

# Wrong codes that people write for a country → the correct code.
_MEANT = {"UK": "GB", "EL": "GR"}


def country_code(text: str) -> str | None:
    """The code in capitals, or None for text that is not the code of a country."""
    code = text.upper()
    return code if code in COUNTRY_CODES and text.isascii() else None


def code_advice(text: str) -> str:
    """What a person should write instead of `text`, which is not a country's code."""
    meant = _MEANT.get(text.upper())
    if meant is not None:
        return f"did you mean {meant}?"
    return "use its ISO 3166-1 code, such as GB for Britain"
