"""A built-in corpus of short film reviews whose label depends on word order.

Most verdicts come as mirror pairs, such as "the music was dull, but the film was gripping" and "the music was
gripping, but the film was dull". Negation is mirrored likewise, the plot is grim or cheerful whatever the label, and
neutral remarks around the verdict shift its position. So neither word counts nor fixed positions predict the label.
"""

import random
from collections.abc import Sequence
from typing import Any

# Indexed by label: 0 negative, 1 positive.
WORDS = (
    ("bad", "dull", "boring", "weak", "clumsy", "tedious", "lifeless", "forgettable"),
    ("good", "gripping", "moving", "clever", "charming", "convincing", "memorable", "delightful"),
)
DEGREES = ("", "", "quite ", "very ", "really ", "truly ", "thoroughly ")
NEGATORS = ("not at all ", "not in the least ", "anything but ", "far from ", "by no means ")

# Slots: {same} and {other} are words with and against the label; {win} and {lose} are phrases with and
# against it, each of which may be a negated word of the opposite kind ("far from dull").
PLAIN = (
    "{film} was {degree}{same}",
    "{film}, {view}, was {degree}{same}",
    "I found {film} {degree}{same}",
    "I must say that {film} was {degree}{same}",
    "{part} was {degree}{same}, and so was {film}",
    "{film} was {same} from start to finish",
)
NEGATED = (
    "I would never call {film} {other}",
    "I could not possibly call {film} {other}",
    "I didn't find {film} {other} in the least",
    "nobody can say that {film} was {other}",
    "I do not believe that anyone could call {film} {other}",
    "there wasn't a single minute in which {film} felt {other}",
    "at no point was {film} {other}",
    "{film} was, {view}, {negator}{other}",
)
CORRECTED = (
    "{film} was not {other} but, {view}, {degree}{same}",
    "{film} wasn't {other}; it was, {view}, {same}",
    "{same}, and not {other}, is the right word for {film}",
    "I would call {film} {same} and never {other}",
    "don't call {film} {other}, call it {same}",
    "{film} was {same} rather than {other}",
    "{film} was, {view}, less {other} than {same}",
    "{film} was, {view}, more {same} than {other}",
    "it is not that {part} was {same}, but {film} was {negator}{other}",
    "{film} was {negator}{other}, though not because {part} was {same}",
)
CONTRASTED = (
    "{part} was {lose}, but {film} was {win}",
    "{part} was {lose}, but {view} {film} was {win}",
    "{part} was {lose}, and yet {film} was {win}",
    "{part} was {lose}. Still, {film} was {win}",
    "{part} was {lose}. Even so, I found {film} {win}",
    "although {part} was {lose}, {film} was {win}",
    "although {part} was {lose}, I found {film} {win}",
    "even if {part} was {lose}, {film} was, {view}, {win}",
    "despite the fact that {part} was {lose}, {film} was {win}",
    "{film} was {win}, although {part} was {lose}",
    "{film} was, {view}, {win}, although {part} was {lose}",
    "I found {film} {win}, even if {part} was {lose}",
    "{film} was {win}, despite the fact that {part} was {lose}",
    "my friends called {film} {lose}, but I found it {win}",
    "I found {film} {win}, although my friends called it {lose}",
    "I had expected something {degree}{other}, but {film} was {win}",
    "{film} was {win}, where I had expected something {degree}{other}",
)
# Plain verdicts teach what the words mean; without them training sits on a plateau before it learns order.
KINDS = (PLAIN,) * 6 + (NEGATED,) * 2 + (CORRECTED,) * 3 + (CONTRASTED,) * 9

FILMS = ("the film", "the movie", "the picture", "the whole thing", "the film as a whole")
PARTS = (
    "the acting", "the music", "the camera work", "the dialogue", "the opening", "the script",
    "the leading man", "the supporting cast", "the editing", "the villain", "the love story",
)  # fmt: skip
VIEWS = ("to my mind", "as I see it", "in my view", "for me", "if you ask me", "to be honest")
LEADS = ("", "", "", "in the end, ", "all in all, ", "in short, ", "all told, ")

OPENINGS = (
    "I saw this one last week with my sister.",
    "I had not heard of the director before.",
    "A neighbour lent me the disc over the holidays.",
    "This was on television late on Sunday.",
    "I never read the novel, although it stood on our shelf.",
    "We meant to see something else, but that was sold out.",
    "My brother picked the title, not I.",
    "Despite the rain we walked to the old cinema.",
    "It is not a long film, and few people are in it.",
    "It was shot in black and white in a small harbour town.",
    "I watched it twice, once without the sound.",
    "They showed it at our film club, though hardly anyone came.",
)
FRAMES = (
    "The story follows {hero} who {event}.",
    "It is about {hero} who {event}.",
    "At the centre stands {hero} who {event}.",
    "We meet {hero} who {event}.",
    "{hero}, new in town, {event}.",
    "The plot turns on {hero} who {event}.",
)
HEROES = (
    "a retired teacher", "a young doctor", "a baker from the coast", "a night porter", "a piano tuner",
    "a farmer with two sons", "a bus driver", "a student from abroad", "a priest", "a sailor on leave",
    "a seamstress", "a clerk at the town hall",
)  # fmt: skip
EVENTS = (
    "loses everything in the war and dies alone",
    "is betrayed by a friend and sent to prison",
    "sinks into drink after a terrible accident",
    "must bury a child and cannot forgive the killer",
    "falls ill and is cruelly abandoned by the family",
    "is hunted through the ruins by a murderer",
    "starves through a bitter winter of fear",
    "watches the village burn and never smiles again",
    "wins a fortune and shares it with the whole street",
    "falls happily in love at a summer wedding",
    "finds a lost puppy and makes friends all over town",
    "opens a sunny little cafe and dances with every guest",
    "is kissed at a ball and laughs until the morning",
    "brings joy and sweets to the children of the valley",
    "celebrates a glad reunion with a beloved brother",
    "sails to a happy island where it never rains",
)
CLOSINGS = (
    "It runs for two hours.",
    "I saw it on a Tuesday.",
    "The cinema was half full.",
    "My copy came with a booklet.",
    "The credits list three writers.",
    "Afterwards we took the last bus home.",
    "It was shown here with subtitles, not dubbed.",
    "My sister wants to see it on Friday.",
    "I have not seen any other film by this director.",
    "We sat at the back, although we had booked the front row.",
    "The novel came out in the seventies and is still in print.",
    "There is a second part, but it never came to our town.",
    "For the record, I watched the long version, which has a prologue.",
    "Outside it had begun to snow, and we talked about trains and coffee.",
)


def _review(rng: random.Random, label: int) -> str:
    """Perhaps an opening, the plot, the verdict and a closing remark."""

    def pick(items: Sequence[Any]) -> Any:
        # Only random() is guaranteed to give the same numbers in all Python versions.
        return items[int(rng.random() * len(items))]

    def phrase(polarity: int) -> str:
        if rng.random() < 0.25:
            return f"{pick(NEGATORS)}{pick(WORDS[1 - polarity])}"
        return f"{pick(DEGREES)}{pick(WORDS[polarity])}"

    plot = pick(FRAMES).format(hero=pick(HEROES), event=pick(EVENTS))
    verdict = pick(LEADS) + pick(pick(KINDS)).format(
        film=pick(FILMS),
        part=pick(PARTS),
        view=pick(VIEWS),
        degree=pick(DEGREES),
        negator=pick(NEGATORS),
        same=pick(WORDS[label]),
        other=pick(WORDS[1 - label]),
        win=phrase(label),
        lose=phrase(1 - label),
    )
    opening = pick(OPENINGS) if rng.random() < 0.5 else ""
    plot, verdict = (sentence[0].upper() + sentence[1:] for sentence in (plot, verdict))
    return f"{opening} {plot} {verdict}. {pick(CLOSINGS)}".strip()


def reviews(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Film reviews and their labels, 0 (negative) and 1 in turn; a larger count with the same seed adds to them."""
    rng = random.Random(seed)
    found: dict[str, int] = {}
    while len(found) < count:
        label = len(found) % 2
        found.setdefault(_review(rng, label), label)
    return list(found.items())
