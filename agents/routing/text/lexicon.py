"""Words that speak for a kind of work whoever writes them: the model's knowledge of sources it has not seen."""

GROUPS: dict[str, str] = {
    "code_thing": (
        "python javascript java sql html css bash shell regex typescript rust golang kotlin php react django "
        "flask json yaml xml csv api docker kubernetes git github linux algorithm array string integer "
        "boolean tuple dict dictionary list function method class variable loop recursion pointer compile "
        "compiler bug debug stacktrace exception script program programming code codebase database query "
        "schema endpoint server backend frontend unittest pytest numpy pandas struct enum async thread mutex "
        "cpp"
    ),
    "code_token": (
        "def return import const var void int str bool elif printf println self async await null none lambda "
        "args kwargs public private static foreach endif typeof namespace include"
    ),
    "code_verb": ("implement refactor debug compile parse sort reverse concatenate iterate returns optimize deploy"),
    "math_thing": (
        "sum difference product quotient equation polynomial triangle circle radius angle integer integers "
        "prime probability fraction decimal percent ratio perimeter area volume diameter digits digit "
        "divisible factor multiple matrix vector derivative integral logarithm sqrt frac theorem solve roots "
        "coefficient coefficients function modulo arithmetic geometric sequence series cube square rectangle "
        "parallel perpendicular hypotenuse remainder"
    ),
    "math_count": (
        "many much total each every per twice half times cost costs price dollars cents miles hours minutes "
        "days weeks pounds feet inches gallons bought sold earns spend spent left remaining altogether more "
        "fewer less than average"
    ),
    "math_ask": ("calculate compute evaluate simplify determine find value values express possible positive"),
    "creative_form": (
        "poem poems story stories novel novella chapter scene dialogue screenplay script lyrics song sonnet "
        "haiku limerick fairy tale essay prose fiction fanfic fanfiction narrative monologue plot protagonist "
        "character characters villain hero author literary slogan tagline ballad speech letter blog verse "
        "memoir review copywriting"
    ),
    "creative_quality": (
        "imagine vivid emotional emotions atmosphere style tone rhyme metaphor imagery romantic fantasy "
        "dragon magical mysterious dreamy poetic heartfelt humorous suspense opening ending setting words "
        "writing"
    ),
    "write_verb": ("write compose create draft craft design continue rewrite"),
    "talk_first": ("i im ive id my me mine we our us myself"),
    "talk_second": ("you your youre yours"),
    "talk_light": (
        "hi hello hey thanks thank lol haha yeah yes no ok okay oh wow cool nice great sure really love like "
        "think guess well bye morning evening fun favorite feel sorry welcome maybe actually totally awesome "
        "too"
    ),
    "talk_life": (
        "movie movies music band game games food pizza dog cat pets weekend vacation school college job "
        "family friend friends kids weather watch watched played hobby"
    ),
    "analysis_thing": (
        "economic economy market markets policy policies government governments company companies firm firms "
        "accounting revenue income tax assets liabilities investment inflation demand supply security states "
        "state power international political theory model models variance regression estimator data trend "
        "trends report strategy financial audit bond stock equity management organization stakeholders law "
        "legal court regulation trade global institutions capital budget heteroscedasticity autocorrelation "
        "stationary variables hypothesis significance nuclear military terrorism realism"
    ),
    "analysis_verb": (
        "analyze analyse analysis compare contrast evaluate assess explain discuss summarize interpret "
        "examine identify describes implications impact causes effects pros cons advantages disadvantages "
        "following correct statements"
    ),
    "reason_logic": (
        "if then premise premises conclusion argument fallacy fallacies valid invalid therefore implies "
        "deduce infer logically proposition propositions truth logic symbolize predicate symbolization "
        "necessarily knights knaves riddle puzzle clue clues constraint true false statement follows must "
        "either neither"
    ),
    "reason_puzzle": (
        "left right next between row person persons people each different houses house lives directly "
        "somewhere seated order older taller youngest oldest"
    ),
    "reason_daily": (
        "where would might could likely probably someone somebody why person what happens place keep found "
        "usually because people something want wanted need cause result lead"
    ),
    "ask": ("what which who where when why how"),
    "option": ("options none all above answer following"),
}
NAMES = tuple(GROUPS)
GROUP_OF: dict[bytes, list[int]] = {}
for _index, _words in enumerate(GROUPS.values()):
    for _word in _words.split():
        GROUP_OF.setdefault(_word.encode(), []).append(_index)
"""A lower-case word to the groups that it belongs to."""
