#!/usr/bin/env python3
"""Writes simple, grammatical stories: the training text of the bundled model.

Everything here was written for this project; no text comes from a corpus, a
book or another project.  A story is made in three steps:

1.  A *cast* is drawn: a hero and a friend (with opposite pronouns, so that
    "he" and "she" are never ambiguous), a place, and a few things.
2.  A *plot* - one function per plot below - tells a beginning, a problem and
    an end.  Its sentences are templates; the events of one plot always follow
    from each other, only their wording and the details differ.
3.  Templates are expanded: ``[a|b|c]`` picks one of its alternatives (they
    nest), ``{h}`` is the hero's name, ``{h.he}`` / ``{h.his}`` ... the pronoun.

The output depends only on the seed.  Usage:

    python3 stories.py --count 3 --seed 1
    python3 stories.py --count 50000 --seed 1 --out stories.txt
"""

import argparse
import random
import re
import sys

# --------------------------------------------------------------------------
# The cast
# --------------------------------------------------------------------------

BOY_NAMES = """Tom Ben Max Leo Finn Sam Jack Oliver Hugo Otto Felix Toby Noah
Theo Pip Milo Jasper Bruno Oscar Emil""".split()
GIRL_NAMES = """Mia Lily Anna Ella Rosie Ruby Nora Clara Lucy Daisy Poppy Ivy
Hazel Molly Tilly Willow Luna Greta Emma Ida""".split()

# Invented names are put together from these, so that a model has to learn to
# remember a name instead of knowing a list by heart.
NAME_STARTS = "B Br D Dr F Fl G Gr J K L M N P R S T Tr V W Z Th".split()
NAME_VOWELS = "a e i o u".split()
NAME_MIDDLES = "l r v nd br lm rl".split()
BOY_ENDS = "o us in or im".split()
GIRL_ENDS = "a ia elle ina etta una ika ila".split()

# kind -> (the hero's home, what the hero reaches with)
ANIMALS = {
    "rabbit": ("burrow", "paw"), "mouse": ("house", "paw"),
    "fox": ("den", "paw"), "bear": ("cave", "paw"),
    "squirrel": ("house", "paw"), "hedgehog": ("house", "paw"),
    "kitten": ("house", "paw"), "puppy": ("house", "paw"),
    "beaver": ("house", "paw"), "otter": ("den", "paw"),
    "mole": ("burrow", "paw"), "badger": ("den", "paw"),
    "raccoon": ("house", "paw"), "frog": ("house", "hand"),
    "duck": ("house", "wing"), "turtle": ("house", "foot"),
    "pig": ("house", "foot"), "lamb": ("house", "foot"),
    "cat": ("house", "paw"), "dog": ("house", "paw"), "goat": ("house", "foot"),
    "bird": ("nest", "wing"), "wolf": ("den", "paw"), "lion": ("den", "paw"),
    "monkey": ("house", "hand"), "dragon": ("cave", "claw"),
}
SWIMMERS = {"duck", "otter", "frog", "beaver", "turtle"}
FLYERS = {"bird", "duck", "dragon"}
SLOW = {"duck", "turtle", "mole", "frog"}

HERO_TRAITS = """little little little small young brave curious cheerful clever gentle happy
playful""".split()
FRIEND_TRAITS = "kind friendly clever gentle wise cheerful helpful".split()


class Character:
    """A named character and the pronouns that go with it."""

    def __init__(self, name, male, kind, trait, home, paw):
        self.name, self.male, self.kind = name, male, kind
        self.trait, self.home, self.paw = trait, home, paw
        self.he, self.him, self.his = (
            ("he", "him", "his") if male else ("she", "her", "her"))
        self.himself = "himself" if male else "herself"
        self.He, self.His = self.he.capitalize(), self.his.capitalize()

    def __str__(self):
        return self.name


class Thing:
    """A thing with a look ("red") and a noun ("ball")."""

    def __init__(self, look, noun):
        self.look, self.noun = look, noun

    def __str__(self):
        return self.look + " " + self.noun


class Spot:
    """A spot that can be gone to ("to the river") and be at ("by the river")."""

    def __init__(self, the, prep):
        self.the, self.to, self.at = the, "to " + the, prep + " " + the

    def __str__(self):
        return self.the


class Place:
    """Where the story happens, with some spots nearby."""

    def __init__(self, where, the, spots):
        self.where, self.the = where, the
        self.spots = [Spot(*spot) for spot in spots]


RIVER, POND, LAKE = ("the river", "by"), ("the pond", "by"), ("the lake", "by")
OAK, HILL, MEADOW = ("the old oak tree", "under"), ("the hill", "on"), ("the meadow", "in")
WOODS, GARDEN, BRIDGE = ("the woods", "in"), ("the garden", "in"), ("the old bridge", "near")
BEACH, FIELD, MILL = ("the beach", "on"), ("the field", "in"), ("the old mill", "near")

PLACES = [
    Place("in a green forest", "the forest", [RIVER, OAK, MEADOW, HILL, POND]),
    Place("at the edge of a big forest", "the forest", [OAK, MEADOW, RIVER, BRIDGE]),
    Place("in a quiet valley", "the valley", [RIVER, MEADOW, HILL, MILL]),
    Place("in a village", "the village", [WOODS, MILL, POND, FIELD, BRIDGE]),
    Place("in a village by the sea", "the village", [BEACH, HILL, GARDEN, MEADOW]),
    Place("on a farm", "the farm", [POND, FIELD, GARDEN, WOODS]),
    Place("near a blue lake", "the lake", [LAKE, MEADOW, WOODS, HILL]),
    Place("at the foot of a tall mountain", "the mountain", [RIVER, WOODS, MEADOW, BRIDGE]),
    Place("on a green hill", "the hill", [MEADOW, RIVER, OAK, GARDEN]),
    Place("in a sunny garden", "the garden", [POND, OAK, FIELD, MEADOW]),
]

COLORS = "red blue green yellow golden silver purple white".split()
TOYS = ["ball", "kite", "drum", "hat", "scarf", "bell", "button", "whistle",
        "marble", "ribbon", "ring", "doll", "blanket", "lantern"]

# Foods that are counted one by one, and foods as a whole.
SNACKS = ["berries", "apples", "nuts", "cherries", "pears", "plums", "cookies",
          "strawberries"]
TREATS = ["an apple pie", "a honey cake", "some warm bread", "some carrot soup",
          "some sweet berries", "some pancakes", "some bread and jam", "a big cake",
          "some hot soup", "some potato soup"]
GAMES = ["played hide and seek", "ran races", "sang songs", "told funny stories",
         "picked flowers", "danced in a circle", "jumped over the puddles",
         "rolled down the hill", "looked for shiny stones", "climbed a tree",
         "made a crown of flowers", "counted the clouds"]

TIMES = ["One day", "One sunny morning", "One fine day", "One bright morning",
         "One warm afternoon", "One morning", "One spring day", "One summer day",
         "One quiet afternoon"]


# --------------------------------------------------------------------------
# The teller
# --------------------------------------------------------------------------

class Teller:
    """Draws a cast and turns templates into the paragraphs of one story."""

    CHOICE = re.compile(r"\[([^\[\]]*)\]")

    def __init__(self, rng, simple=False):
        self.rng, self.simple = rng, simple
        self.paragraphs = [[]]
        self.h = self._character(HERO_TRAITS, rng.random() < 0.5, 0.35)
        self.f = self._character(FRIEND_TRAITS, not self.h.male, 0.2)
        # The last place, the garden, is a home for animals only.
        self.p = rng.choice(PLACES[:-1] if self.h.kind in ("boy", "girl") else PLACES)
        self.s, self.s2 = rng.sample(self.p.spots, 2)
        self.x = Thing(rng.choice(COLORS), rng.choice(TOYS))
        self.treat, self.snack = rng.choice(TREATS), rng.choice(SNACKS)
        self.game, self.game2 = rng.sample(GAMES, 2)
        self.time = rng.choice(TIMES)

    def _name(self, male):
        """A known name, or, now and then, an invented one."""
        rng = self.rng
        if self.simple or rng.random() < 0.7:
            return rng.choice(BOY_NAMES if male else GIRL_NAMES)
        return "".join(rng.choice(part) for part in (
            NAME_STARTS, NAME_VOWELS, NAME_MIDDLES, BOY_ENDS if male else GIRL_ENDS))

    def _character(self, traits, male, child_share):
        rng = self.rng
        taken = getattr(self, "h", None)
        name = self._name(male)
        trait = rng.choice(traits)
        if rng.random() < child_share:
            return Character(name, male, "boy" if male else "girl", trait, "house", "hand")
        kind = rng.choice([k for k in ANIMALS if taken is None or k != taken.kind])
        return Character(name, male, kind, trait, *ANIMALS[kind])

    def recast(self, *who, avoid):
        """Makes those characters whose kind is in `avoid` another animal."""
        for character in who:
            if character.kind in avoid:
                kinds = [k for k in ANIMALS if k not in avoid
                         and k not in (self.h.kind, self.f.kind)]
                character.kind = self.rng.choice(kinds)
                character.home, character.paw = ANIMALS[character.kind]

    def expand(self, template, **extra):
        """Resolves the choices, innermost first, then fills the slots."""
        text = template
        while True:
            match = self.CHOICE.search(text)
            if not match:
                break
            pick = self.rng.choice(match.group(1).split("|"))
            text = text[:match.start()] + pick + text[match.end():]
        return text.format(**{**vars(self), **extra})

    def say(self, *templates, **extra):
        """Adds sentences to the current paragraph."""
        for template in templates:
            text = " ".join(self.expand(template, **extra).split())
            if text:
                self.paragraphs[-1].append(text[0].upper() + text[1:])

    def maybe(self, chance, *templates, **extra):
        """Adds sentences with the given chance."""
        if self.rng.random() < chance:
            self.say(*templates, **extra)

    def one_of(self, *templates, chance=1.0, **extra):
        """Adds one of the given sentences, with the given chance."""
        self.maybe(chance, self.rng.choice(templates), **extra)

    def paragraph(self):
        """Starts a new paragraph."""
        self.paragraphs.append([])

    def text(self):
        """The finished story, with "a" made "an" where needed."""
        text = "\n".join(" ".join(p) for p in self.paragraphs if p)
        return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)

    # ---- pieces that all the plots share --------------------------------

    def opening(self, *about, family=True):
        """Introduces the hero; `about` are sentences of which one is added.

        With `family` the hero may be said to live with parents.
        """
        first = self.rng.random()
        if first < 0.62:
            self.one_of(
                "Once upon a time, there was a {h.trait} {h.kind} named {h}. "
                "{h.He} lived {p.where}" + (" with {h.his} [mother|family|mother and father]." if family and self.rng.random() < 0.3 else "."),
                "Once upon a time, there was a {h.trait} {h.kind} named {h} who lived {p.where}.",
                "Once upon a time, {p.where}, there lived a {h.trait} {h.kind} named {h}.",
                "Once upon a time, a {h.trait} {h.kind} named {h} lived {p.where}.",
                "Once upon a time, there lived a {h.trait} {h.kind} {p.where}. {h.His} name was {h}.")
        else:
            self.one_of(
                "Once there was a {h.trait} {h.kind} named {h} who lived {p.where}.",
                "There once was a {h.trait} {h.kind} named {h}. {h.He} lived {p.where}.",
                "Long ago, {p.where}, there lived a {h.trait} {h.kind} named {h}.",
                "Long, long ago, there was a {h.trait} {h.kind} named {h}. {h.He} lived {p.where}.",
                "{p.where}, there lived a {h.trait} {h.kind} named {h}.",
                "{h} was a {h.trait} {h.kind} who lived {p.where}.",
                "A {h.trait} {h.kind} named {h} lived {p.where}.",
                "The {h.trait} {h.kind} {h} lived {p.where}.")
        self.one_of(*about)

    def friend_comes(self):
        """The friend walks in and asks what is wrong."""
        self.one_of(
            "[Just then|Soon|After a while|At that moment], a {f.trait} {f.kind} named {f} came [by|along|down the path|up the path].",
            "{f}, a {f.trait} {f.kind}, heard {h.him} and came [to see|to help|running|closer].",
            "[Just then|After a while], {h.his} friend {f} came by. {f} was a {f.trait} {f.kind}.",
            "A {f.trait} {f.kind} named {f} was walking [by|nearby] and saw {h}.")
        self.one_of(
            '"What is wrong?" asked {f}.',
            '"Why are you so sad, {h}?" asked {f}.',
            '"Hello, {h}," said {f}. "[Why do you look so sad|What happened|Can I help you]?"',
            '"What is the matter?" {f.he} asked [softly|kindly|in a soft voice].')

    def thanks(self):
        """The hero thanks the friend."""
        self.one_of(
            '"Thank you, {f}!" said {h}. "[You are a good friend|You are so kind|I could not have done it without you|You are the best friend in the world]."',
            '"Thank you so much," said {h} with a [big|happy|wide] smile.',
            '{h} gave {f} a [big|warm] hug. "Thank you for your help," {h.he} said.',
            '"We did it!" cried {h}, and {h.he} hugged {f}.')

    def closing(self, *morals):
        """Feelings, the moral, and sometimes a last line."""
        self.one_of(*morals)
        self.one_of(
            "", "", "The end.", "And they lived happily ever after.",
            "[That night|That evening], {h} fell asleep with a smile.",
            "And that was the best day of all.",
            "And everyone {p_in} was happy.", p_in=re.sub(r"^(in|on|near|at) .*", self._at_place, self.p.where))

    def _at_place(self, match):
        prep = {"the hill": "on", "the farm": "on", "the lake": "near",
                "the mountain": "near"}.get(self.p.the, "in")
        return prep + " " + self.p.the


# --------------------------------------------------------------------------
# The plots
# --------------------------------------------------------------------------

def lost_thing(t):
    """Something dear is lost, and a friend helps to look for it."""
    t.opening("{h} had a {x} that {h.he} loved very much.",
              "{h.He} had a {x}. It was {h.his} favorite thing in the whole world.",
              "{h.His} grandmother had given {h.him} a {x}, and {h} loved it.",
              "{h} had a {x}, and {h.he} took it everywhere.")
    t.paragraph()
    t.say("{time}, {h} went {s.to} to play[ with {h.his} {x.noun}|].")
    t.say("[When {h.he} came home|When it was time to go home|Later that day], the {x.noun} was [gone|not there|lost].")
    t.one_of('"Oh no!" cried {h}. "Where is my {x.noun}?"',
             '"My {x.noun}!" {h.he} cried. "I have lost it!"',
             '{h} was very upset. "Where can it be?" {h.he} said.')
    t.one_of("{h.He} looked [under the bed|under the table], behind the door, and [in every corner|in the garden], but {h.he} could not find it.",
             "{h.He} looked here and there, but the {x.noun} was nowhere to be seen.",
             "{h.He} looked [high and low|everywhere], but there was no {x.noun}.")
    t.maybe(0.3, "{h} sat down and began to cry.")
    t.friend_comes()
    t.one_of('"I lost my {x}," said {h}. "I cannot find it anywhere."',
             '"My {x} is gone," said {h} with tears in {h.his} eyes.')
    t.one_of('"Do not worry," said {f}. "[I will help you|We will find it together|Two can look better than one]. Where did you play today?"',
             '"Do not cry," said {f}. "Let us think. Where did you see it last?"')
    t.say('{h} thought for a moment. "[I was {s.at}|I had it {s.at}]," {h.he} said.')
    t.paragraph()
    t.say("So the two friends went back {s.to}.")
    t.say("They looked [in the tall grass|behind every tree|under the leaves] and [around the stones|between the flowers|behind the bushes].")
    t.say("[Suddenly|At last|Then], {f} saw something {x.look} [under a bush|in the grass|behind a big stone|next to a flower|between two roots].")
    t.say('"[Look|Come here|Look over there]!" {f.he} [cried|called]. It was the {x.noun}!')
    t.one_of("{h} was so happy that {h.he} jumped up and down.",
             "{h} [laughed|smiled] and held the {x.noun} [tight|close].",
             "{h}'s eyes were bright with joy.", chance=0.6)
    t.thanks()
    t.closing("From that day on, {h} took good care of the {x.noun}, and {h} and {f} were best friends.",
              "{h} learned that a good friend is worth more than any {x.noun}.",
              "Then they {game} until the sun went down.",
              "{h} was glad to have the {x.noun} back, but {h.he} was even more glad to have a friend like {f}.")


STUCK = [
    # thing, how it gets stuck, tries, the friend's idea, how it works
    ("kite",
     ["a strong wind [blew|came and blew] the kite into a tall tree",
      "the wind pulled the kite away, and it got stuck in a tall tree"],
     ["{h.He} jumped as high as {h.he} could, but the branch was too high.",
      "{h.He} shook the tree, but the kite did not fall.",
      "{h.He} threw a stick at it, but the stick fell right back down."],
     ["If you stand on my back, we can reach it", "Let us get a long ladder",
      "I have a long stick at home"],
     ["They worked together, and soon the kite came down.",
      "{h.He} reached up, up, up, and at last {h.he} had the kite."]),
    ("ball",
     ["the ball rolled away and fell into a deep hole",
      "{h} kicked the ball too hard, and it fell into a deep hole"],
     ["{h.He} reached down with {h.his} {h.paw}, but the hole was too deep.",
      "{h.He} tried to get it out with a stick, but the stick was too short.",
      "{h.He} called to the ball, but of course the ball did not answer."],
     ["If we pour water into the hole, the ball will float up",
      "A ball can float, so let us fill the hole with water"],
     ["They carried water from the stream, and the ball came up, higher and higher, until {h} could reach it.",
      "They filled the hole with water, and up came the ball."]),
    ("boat",
     ["the little boat floated away to the middle of the pond",
      "the wind pushed the little boat far out on the pond"],
     ["{h.He} tried to reach it with a stick, but the stick was too short.",
      "{h.He} threw stones into the water, but the boat only floated farther away.",
      "{h.He} called and called, but the boat did not come back."],
     ["Let us wait on the other side, and the wind will bring it to us",
      "We can tie a rope to a stick and pull it back"],
     ["They did just that, and soon the boat came back to the shore.",
      "It took a long time, but at last the boat was back in {h.his} {h.paw}s."]),
    ("hat",
     ["a strong wind blew the hat onto the roof of the barn",
      "the wind took the hat and dropped it on a high roof"],
     ["{h.He} jumped up and down, but the roof was too high.",
      "{h.He} stood on a box, but {h.he} was still too small.",
      "{h.He} waited for the wind to blow it down, but the hat did not move."],
     ["Let us get the long ladder", "I can climb up, if you hold the ladder"],
     ["One held the ladder and one climbed up, and soon the hat was safe.",
      "Step by step they reached the roof, and there was the hat."]),
]


def stuck_thing(t):
    """Something is stuck; trying alone fails, thinking together helps."""
    noun, how, tries, ideas, works = t.rng.choice(STUCK)
    t.x = Thing(t.rng.choice(["red", "blue", "green", "yellow", "white", "purple"]), noun)
    t.recast(t.h, t.f, avoid=SWIMMERS if noun == "boat" else FLYERS)
    t.opening("{h} had a new {x}.", "{h.He} loved to play with {h.his} {x}.",
              "For {h.his} birthday, {h} got a {x}.",
              "{h.His} father had made {h.him} a {x}.")
    t.paragraph()
    t.say("{time}, {h} took the {x.noun} outside[ to play|].")
    t.say("[But then|Suddenly|All at once], " + t.rng.choice(how) + ".")
    t.one_of('"Oh no! My {x.noun}!" cried {h}.',
             '"Oh dear," said {h}. "How will I get it back?"')
    first, second = t.rng.sample(tries, 2)
    t.say(first)
    t.maybe(0.4, second)
    t.one_of("{h} felt [very sad|sad and tired|like crying].",
             "{h} sat down on a stone and did not know what to do.", chance=0.6)
    t.friend_comes()
    t.one_of('"I cannot get my {x.noun} back," said {h}.',
             '"My {x} is gone," said {h}. "I tried, but I cannot reach it."')
    t.say('{f} looked at it and [thought hard|thought for a while|smiled]. "I have an idea," {f.he} said. "{idea}."',
          idea=t.rng.choice(ideas))
    t.paragraph()
    t.one_of('"[That is a good idea|Let us try it|Yes, let us try]!" said {h}.',
             '"What a clever idea!" said {h}.', chance=0.6)
    t.say(t.rng.choice(works))
    t.thanks()
    t.say("Then {h} and {f} played with the {x.noun} [together|until it was dark|all afternoon].")
    t.closing("{h} learned that it is good to ask for help.",
              "{h} learned that two friends can do what one cannot do alone.",
              "From that day on, {h} and {f} played together every day.",
              '"When we work together, nothing is too hard," said {f}.')


def new_friend(t):
    """A lonely hero meets somebody new."""
    t.opening("{h} had no one to play with, and {h.he} felt lonely.",
              "{h.He} had many toys, but {h.he} had no friends.",
              "Every day {h} played alone, and {h.he} wished for a friend.",
              "{h} was very shy, so {h.he} had no friends.")
    t.paragraph()
    t.say("{time}, {h} went for a walk {s.to}.")
    t.say("There {h.he} saw a {f.kind} sitting [all alone|alone on a stone|alone in the grass].")
    t.maybe(0.5, "{h.He} had never seen {f.him} before.")
    t.one_of("{h} wanted to say hello, but {h.he} was too shy. {h.He} hid behind a tree and watched.",
             "{h.His} heart beat fast. {h.He} did not know what to say.",
             '"What if {f.he} does not like me?" thought {h}.')
    t.one_of("Then {h} saw that the {f.kind} was crying.",
             "But the {f.kind} looked so sad that {h} forgot to be afraid.",
             "But the {f.kind} looked lonely too.")
    t.one_of('So {h} took a deep breath and walked up to {f.him}. "Hello," {h.he} said. "My name is {h}. [What is your name|Who are you]?"',
             '{h.He} picked a [yellow|white|blue|red] flower and gave it to {f.him}. "This is for you," {h.he} said. "I am {h}. Who are you?"')
    t.say('"[I am|My name is] {f}," said the {f.kind}. "[I am new here, and I do not know anyone|We just moved here, and I miss my old home|I have no one to play with]."')
    t.one_of('"Then come and play with me!" said {h}.',
             '"I know how you feel," said {h}. "Would you like to be my friend?"')
    t.one_of('{f} wiped {f.his} eyes and smiled. "I would like that very much," {f.he} said.',
             '"Really?" asked {f}, and {f.he} smiled for the first time that day.')
    t.paragraph()
    t.say("So the two new friends {game} and {game2}.")
    t.one_of("They laughed until their bellies hurt.",
             "They had so much fun that they forgot the time.",
             "{h} had never been so happy.", chance=0.6)
    t.say("When the sun went down, {h} asked {f} to come home with {h.him}, and they ate {treat}.")
    t.maybe(0.4, '"[Will you come again tomorrow|Can we play again tomorrow]?" asked {f}. "Of course," said {h}.')
    t.closing("From that day on, {h} and {f} were never lonely again.",
              "{h} learned that a kind word can make a new friend.",
              "{h} was glad that {h.he} had been brave enough to say hello.",
              "From then on, they met {s.at} every day.")


def sharing(t):
    """The hero keeps everything, feels bad, and learns to share."""
    t.opening("{h} loved {snack} more than anything.",
              "{h.His} favorite food was {snack}.",
              "{h.He} loved to eat {snack}.",
              "{h} did not like to share.")
    t.paragraph()
    t.say("{time}, {h} found a [big basket|whole basket] full of {snack} {s.at}.")
    t.one_of('"[These are all mine|All of these are for me]!" said {h} [happily|with a smile].',
             '"I will eat them all by myself!" thought {h}.')
    t.say("{h.He} [carried|took] the basket home and [shut|closed] the door.")
    t.say("[Soon|A little later|Before long], there was a knock. It was {h.his} friend {f}, a {f.trait} {f.kind}.")
    t.one_of('"I am so hungry," said {f}. "May I have some of your {snack}?"',
             '"What a nice basket!" said {f}. "Could you share some {snack} with me?"')
    t.one_of('"No," said {h}. "They are mine."', '"No," said {h}. "I found them, so I will keep them."')
    t.one_of("{f} looked [down|at the ground] and walked away [sadly|without a word].",
             '"Oh," said {f} in a small voice, and {f.he} went home sad and hungry.')
    t.say("{h} sat down and ate and ate. But the {snack} did not taste [good|sweet] [anymore|at all].")
    t.one_of("It was no fun to eat alone, and {h.he} had a pain in {h.his} belly.",
             "{h.He} kept thinking of {f} and {f.his} sad face.",
             "The house was very quiet, and {h} felt bad inside.")
    t.one_of('"I was not kind to {f}," thought {h}.', '"What good are {snack} without a friend?" {h.he} said.',
             chance=0.6)
    t.paragraph()
    t.say("So {h} took the basket and ran to find {f}. {f} was sitting {s2.at}.")
    t.one_of('"I am sorry," said {h}. "I was not kind. Please have some {snack}."',
             '"I am so sorry, {f}," said {h}. "Here, let us eat them together."')
    t.one_of('{f} smiled. "Thank you," {f.he} said. "[I am not angry|You are my friend, and I forgive you]."',
             "{f} was surprised, but then {f.he} smiled and hugged {h}.")
    t.say("They sat [side by side|in the sun|under a tree] and ate the {snack} together, and [now they tasted sweet|they were the best {snack} in the world|every bite was sweet].")
    t.maybe(0.4, "After that, they {game}.")
    t.closing("{h} learned that everything tastes better when you share it.",
              "From that day on, {h} always shared with {h.his} friends.",
              "And {h} never forgot that sharing makes two hearts happy.",
              "{h} learned that a friend is better than a basket full of {snack}.")


FEARS = [
    # what, reason, trouble of the friend, how the hero goes, rescue
    ("the dark", ["When the sun went down, {h.he} hid under {h.his} blanket.",
                  "{h.He} never went out at night."],
     ["One night, {h} heard a voice outside. \"Help! Help!\" It was {h.his} friend {f}, a {f.trait} {f.kind}, who [had lost {f.his} way|had fallen into a hole] in the dark."],
     ["{h.He} took a lantern and stepped out into the night.",
      "{h.He} opened the door and walked out into the dark night."],
     ["{h.He} followed the voice, step by step, until {h.he} found {f} [under a tree|by the old fence]. {h.He} took {f.his} {f.paw} and led {f.him} home.",
      "The moon came out from behind a cloud, and {h} saw {f}. {h.He} helped {f.him} up and took {f.him} home."]),
    ("the water", ["When the others went swimming, {h.he} stayed on the shore.",
                   "{h.He} never went near the river."],
     ["{time}, {h} was walking along the river when {h.he} heard a cry. {h.His} friend {f}, a {f.trait} {f.kind}, had slipped on a stone and fallen into the river."],
     ["{h.He} stepped into the cold water and held on to a strong branch.",
      "{h.He} found a long branch and walked into the cold water."],
     ["{f} held on to the branch, and {h} pulled and pulled until {f.he} was safe on the shore.",
      "{h.He} reached out and pulled {f} back to the shore."]),
    ("high places", ["{h.He} never climbed a tree or a wall.",
                     "{h.He} did not even like to stand on a chair."],
     ["{time}, {h} heard a cry from the top of the old oak tree. {h.His} friend {f}, a {f.trait} {f.kind}, had climbed up too high and could not come down."],
     ["{h.He} put a ladder next to the tree and began to climb.",
      "{h.He} began to climb, one branch after the other."],
     ["\"Hold on to me,\" said {h}, and slowly, step by step, they climbed down together.",
      "{h.He} took {f} by the {f.paw} and showed {f.him} where to step, until they were both on the ground."]),
    ("the old cave", ["The others said that a monster lived in it.",
                      "Strange sounds came out of it at night."],
     ["{time}, {h.his} friend {f}, a {f.trait} {f.kind}, did not come home. \"I think I saw {f.him} near the old cave,\" said a bird."],
     ["{h.He} took a lantern and walked into the cave.",
      "{h.He} went into the cave, one small step at a time."],
     ["There was no monster at all. There was only {f}, who had hurt {f.his} leg. {h} helped {f.him} up and took {f.him} home.",
      "It was only the wind that made the strange sounds. In a corner sat {f}, lost and cold. {h} took {f.him} by the {f.paw} and led {f.him} out."]),
]


def brave(t):
    """A fear is overcome because a friend needs help."""
    what, reasons, troubles, goes, rescues = t.rng.choice(FEARS)
    t.h.trait = t.rng.choice(["little", "small", "young", "shy", "gentle"])
    if what == "the water":
        t.recast(t.h, t.f, avoid=SWIMMERS)
    if what == "high places":
        t.recast(t.h, t.f, avoid=FLYERS)
    t.opening("{h} was afraid of %s." % what,
              "There was only one thing that {h.he} was afraid of, and that was %s." % what)
    t.say(t.rng.choice(reasons))
    t.maybe(0.5, "{h.He} wished that {h.he} could be [brave|braver|as brave as a lion].")
    t.paragraph()
    t.say(t.rng.choice(troubles))
    t.one_of("{h.His} heart began to beat fast.", "{h.His} legs began to shake.",
             "{h} was so afraid that {h.he} could not move.", chance=0.7)
    t.one_of('"I am afraid," {h} thought, "but {f} needs me."',
             '"I must help {f}," {h} said to {h.himself}. "There is no one else here."')
    t.say("{h.He} [took a deep breath|closed {h.his} eyes for a moment|counted to three].")
    t.say(t.rng.choice(goes))
    t.maybe(0.5, '"I am coming!" {h.he} called.')
    t.say(t.rng.choice(rescues))
    t.paragraph()
    t.one_of('"Thank you, {h}!" said {f}. "You [are so brave|are the bravest {h.kind} I know|saved me]."',
             '{f} hugged {h}. "You came to help me," {f.he} said. "How brave you are!"')
    t.one_of('"I was afraid," said {h}, "but I wanted to help you."',
             '{h} smiled. "[I did not feel brave|I was very much afraid]," {h.he} said, "but you are my friend."')
    t.say("Then they went [inside|home] and ate {treat}[ by the fire|].")
    t.closing("{h} learned that to be brave means to help even when you are afraid.",
              "From that day on, {h} was not afraid of %s anymore." % what,
              "{h} was still a little afraid of %s, but now {h.he} knew that {h.he} could be brave." % what)


BUILDS = [
    # what, why, how it breaks, advice, the happy use
    ("boat", ["{h.He} wanted to sail across the lake.", "{h.He} dreamed of sailing to the little island."],
     ["but as soon as {h.he} put it on the water, it filled up and sank",
      "but the boat was not strong, and it broke in two"],
     "Good boats need strong wood and strong rope",
     ["They sailed across the lake, and the wind was soft and warm.",
      "They sailed to the little island and had lunch there."]),
    ("tree house", ["{h.He} wanted to look over the whole valley.", "{h.He} wanted to sleep near the stars."],
     ["but in the night the wind blew, and the tree house fell down",
      "but the first rain washed the roof away"],
     "A good house needs strong wood and many nails",
     ["They sat in the tree house and looked at the stars.",
      "From the tree house they could see the river, the hills, and the far blue sea."]),
    ("bridge", ["{h.He} wanted to cross the stream without getting wet.",
                "{h.He} wanted to visit {h.his} grandmother on the other side of the stream."],
     ["but when {h.he} stepped on it, it broke, and {h.he} fell into the water with a splash",
      "but the water was strong and carried the bridge away"],
     "A good bridge needs big stones and thick wood",
     ["They walked across the bridge, and nobody got wet.",
      "Soon everyone came to walk across the new bridge."]),
    ("sled", ["{h.He} wanted to ride down the snowy hill.", "The snow was deep and white, and {h.he} wanted to play in it."],
     ["but on the first ride it hit a stone and broke",
      "but it was crooked, and it threw {h.him} into the snow"],
     "A good sled needs smooth wood and strong nails",
     ["They rode down the hill, faster and faster, and laughed out loud.",
      "Down the hill they went, with the wind in their faces."]),
    ("kite", ["{h.He} wanted to see it dance in the sky.", "{h.He} wanted it to fly higher than the birds."],
     ["but the wind tore the paper at once", "but the kite was too heavy and would not fly"],
     "A good kite needs light wood and strong paper",
     ["The kite flew up and up, higher than the tallest tree.",
      "The kite danced in the blue sky, and they both laughed."]),
]


def build(t):
    """Working in a hurry fails; patience and help succeed."""
    what, whys, breaks, advice, uses = t.rng.choice(BUILDS)
    extra = {"what": what}
    if what == "sled":
        t.time = t.rng.choice(["One winter day", "One cold morning", "One winter morning"])
    t.opening("{h} wanted to build a %s." % what, "{h.His} big dream was to build a %s." % what,
              "More than anything, {h} wished for a %s." % what)
    t.say(t.rng.choice(whys))
    t.paragraph()
    t.say("{time}, {h} [began to work|went to work|started to build].")
    t.one_of("{h.He} worked very fast, because {h.he} wanted to be done before lunch.",
             "{h.He} was in a hurry, so {h.he} took the first sticks that {h.he} found.",
             '"This will be easy," {h.he} said, and {h.he} did not take much time.', chance=0.7)
    t.say("Soon the {what} was ready, " + t.rng.choice(breaks) + ".", **extra)
    t.one_of('"I give up!" cried {h}. "I will never have a {what}."',
             '{h} was angry. "It is too hard for me," {h.he} said.', **extra)
    t.friend_comes()
    t.say('"[I tried to build a {what}, but it broke|I wanted to build a {what}, but I cannot do it]," said {h}.', **extra)
    t.say('"You went too fast," said {f}. "{advice}. [Let us try again, slowly this time|Do not give up. I will help you|Let us do it again, together]."', advice=advice)
    t.paragraph()
    t.say("So they [went to find|looked for] good wood. {h} [cut|held] the wood, and {f} [tied the knots|measured every piece].")
    t.one_of("They worked slowly and with care, for [two|three|four] whole days.",
             "It took a long time, but they did not hurry.",
             "When something was not right, they did it again.", chance=0.7)
    t.say("[At last|Finally], the new {what} was ready, and it was [strong|good and strong|better than the first one].", **extra)
    if t.rng.random() < 0.5:
        t.thanks()
    t.say(t.rng.choice(uses))
    t.closing("{h} learned that good work takes time.",
              "{h} learned that you must not give up when something goes wrong.",
              '"It is good that we tried again," said {h}.',
              "And every time {h} looked at the %s, {h.he} remembered to be patient." % what)


BREAKABLES = [("blue cup", "cup"), ("white plate", "plate"), ("old clock", "clock"),
              ("green vase", "vase"), ("little lamp", "lamp"), ("yellow bowl", "bowl")]


def truth(t):
    """The hero breaks something, hides it, and then tells the truth."""
    full, noun = t.rng.choice(BREAKABLES)
    who = t.rng.choice(["mother", "grandmother", "father", "grandfather"])
    extra = {"full": full, "noun": noun, "who": who}
    t.opening("{h} lived in a [small|cozy|little] {h.home} with {h.his} %s." % who,
              "{h.He} lived with {h.his} %s in a [small|cozy|little] {h.home}." % who, family=False)
    t.say("{h.His} {who} had a {full} and [loved it very much|was very proud of it|kept it on the table].", **extra)
    t.paragraph()
    t.say("{time}, {h} was playing [inside|in the kitchen] with a ball, although {h.he} was not allowed to.", **extra)
    t.say("The ball hit the {noun}. [Crash|Bang|Smash]! The {noun} fell down and broke.", **extra)
    t.one_of('"Oh no," whispered {h}. "What have I done?"', "{h} stood very still. {h.His} face was hot.", chance=0.5)
    t.say("{h} was afraid, so {h.he} hid the pieces [under the bed|behind the door|in a box|in the garden].")
    t.say('[That evening|Later], {h.his} {who} asked, "[Where is my {full}|Have you seen my {noun}]?"', **extra)
    t.one_of('"I do not know," said {h}, but {h.he} could not look up.',
             '"Maybe the wind took it," said {h} in a small voice.')
    t.say("That night, {h} could not sleep. [{h.He} turned from one side to the other.|The moon looked in at the window.|{h.His} heart felt heavy, like a stone.]")
    t.one_of('"I must tell the truth," {h.he} thought.', "{h.He} knew that it was wrong to lie.", chance=0.7)
    t.paragraph()
    t.say('[So {h.he} got up and went to {h.his} {who}.|In the morning, {h.he} went to {h.his} {who}.] "I broke your {noun}," {h.he} said[ with tears in {h.his} eyes|]. "I was playing with the ball, and then I hid the pieces. I am so sorry."', **extra)
    t.one_of('{h.His} {who} was quiet for a moment, and then smiled. "Thank you for telling me the truth," said {h.his} {who}. "That was brave."',
             'To {h.his} surprise, {h.his} {who} was not angry. "A {noun} is only a {noun}," said {h.his} {who}. "I am proud that you told the truth."', **extra)
    t.say("Together they found all the pieces and [put the {noun} back together|mended the {noun} with glue].", **extra)
    t.maybe(0.4, "It did not look new, but {h} thought that it was [even more beautiful|even better than before].")
    t.maybe(0.4, "Then they ate {treat} together[, and {h} felt light and happy again|].")
    t.closing("{h} learned that the truth is always better than a lie.",
              "From that day on, {h} played with the ball outside, and {h.he} always told the truth.",
              "That night, {h} slept very well.",
              "{h} never forgot how good it felt to tell the truth.")


GUIDES = [("an old owl", "owl", "flew from branch to branch in front of {h.him}"),
          ("a tiny firefly", "firefly", "flew in front of {h.him} like a little lamp"),
          ("a gray bat", "bat", "flew ahead between the trees"),
          ("a wise old turtle", "turtle", "walked slowly in front of {h.him}"),
          ("a white deer", "deer", "walked in front of {h.him} between the trees"),
          ("an old badger", "badger", "walked ahead with a small lantern")]
LURES = [("a yellow butterfly", "butterfly"), ("a blue bird", "bird"),
         ("a shiny dragonfly", "dragonfly"), ("a red leaf in the wind", "leaf"),
         ("a white feather in the wind", "feather")]


def lost_way(t):
    """The hero goes too far, gets lost, and is led home."""
    guide, gnoun, leads = t.rng.choice([g for g in GUIDES if g[1] != t.h.kind])
    lure, lnoun = t.rng.choice([l for l in LURES if l[1] != t.h.kind])
    extra = {"guide": guide, "gnoun": gnoun, "lure": lure, "lnoun": lnoun}
    t.opening("{h.His} mother always said, \"Do not go too far from home.\"",
              "{h} was allowed to play outside, but not to go into the dark woods.",
              "{h.He} liked to look at everything that flew or moved.")
    t.paragraph()
    t.say("{time}, {h} saw {lure}.", **extra)
    t.say('"[How pretty|How beautiful]!" said {h}. {h.He} [ran after|followed] the {lnoun}, over the [field|meadow|hill] and into the dark woods.', **extra)
    t.maybe(0.6, "{h.He} ran and ran, until the {lnoun} was gone.", **extra)
    t.say("Then {h} looked around. [All the trees looked the same.|There was no path.|Everything looked strange.] {h.He} did not know the way home.")
    t.one_of('"Mother! Where are you?" {h.he} called, but nobody answered.',
             '"Which way is home?" {h.he} asked, but only the wind answered.',
             chance=0.5)
    t.say("The sun went down, and it grew [dark and cold|cold and dark]. {h} sat down [under a tree|on a stone] and began to [cry|shake].")
    t.say("[Then|Suddenly|After a while], {h.he} heard a soft voice. It was {guide}.", **extra)
    t.say('"[Why are you crying|Why are you here all alone|What are you doing here], little {h.kind}?" asked the {gnoun}.', **extra)
    t.one_of('"I am lost," said {h}. "I followed {lure}, and now I cannot find my way home."',
             '"I want to go home, but I do not know the way," said {h}.', **extra)
    t.one_of('"Do not be afraid," said the {gnoun}. "I know these woods well. Follow me."',
             '"I will show you the way," said the {gnoun}. "Stay close to me."', **extra)
    t.paragraph()
    t.say("The {gnoun} " + leads + ", and {h} followed.", **extra)
    t.say("They went [along the stream|past the big rocks|around a dark pond] and [through the tall grass|over a small bridge|under the bright stars], until {h} saw a light. It was [the window of {h.his} home|{h.his} home]!")
    t.maybe(0.6, '"Thank you, kind {gnoun}!" said {h}.', **extra)
    t.say('{h.His} mother ran out and [held {h.him} tight|hugged {h.him}]. "[I was so worried|I looked for you everywhere]!" she said. "[I am so glad that you are back.|Where have you been?]"')
    t.one_of('"I am sorry, Mother," said {h}. "I will never go so far again."',
             '"I went too far," said {h}. "I am sorry. I will be careful now."', chance=0.7)
    t.maybe(0.5, "Then {h} ate {treat} and went to [sleep in {h.his} warm bed|bed].")
    t.closing("From that day on, {h} always stayed close to home.",
              "{h} never forgot the kind %s." % gnoun,
              "{h} learned to listen to {h.his} mother.",
              "And sometimes, at night, {h} waved to the %s from {h.his} window." % gnoun)


def race(t):
    """The hero stops in a race to help, and gains more than a prize."""
    prize = t.rng.choice(["a golden cup", "a big cake", "a basket of apples",
                          "a silver bell", "a blue ribbon", "a jar of honey"])
    extra = {"prize": prize, "pnoun": prize.split(" ", 1)[1]}
    t.recast(t.h, avoid=SLOW | FLYERS)
    t.opening("{h} could run very fast.", "{h.He} loved to run more than anything.",
              "Every day {h} ran {s.to} and back.")
    t.paragraph()
    t.say("{time}, there was a big race. The prize was {prize}.", **extra)
    t.one_of('"I will win the race," said {h}. "I am the fastest of all."',
             '"I want to win the {pnoun}," said {h}.',
             "{h} had waited for this day all year, and {h.he} wanted to win.",
             chance=0.6, **extra)
    t.say("Everyone stood in a line. \"One, two, three, go!\" called the old [goose|goat|rooster], and they [all began to run|ran as fast as they could].")
    t.say("Soon {h} was [in front|ahead of all the others]. Only {f}, a {f.trait} {f.kind}, was [close behind {h.him}|right behind {h.him}].")
    t.say("[Suddenly|But then], {h} heard a cry. {f} had [fallen over a root|slipped in the mud|fallen over a stone] and hurt {f.his} leg.")
    t.one_of('"If I stop now, I will not win," thought {h}. "But {f} needs help."',
             "{h} looked at the end of the road. It was so near! Then {h.he} looked back at {f}.",
             chance=0.7)
    t.say("{h} [stopped|turned around] and ran back to {f}.")
    t.say('"[Are you hurt|Can you stand up]?" {h.he} asked. "[My leg hurts|I cannot walk]," said {f}. "[Go on|Run]! You can still win."')
    t.one_of('"A friend is more important than a race," said {h}.', '"No," said {h}. "I will not leave you here."', chance=0.7)
    t.paragraph()
    t.say("{h.He} helped {f} up, and slowly they walked [to the end|the rest of the way] together. [All the others had come in before them. But everyone cheered for them.|When they came in, everyone began to clap.]")
    t.one_of('"{h} did not win the race," said the old judge, "but {h.he} has the kindest heart. The {pnoun} is for {h.him}."',
             'The winner came to {h} and said, "You were faster than me, but you stopped to help. The {pnoun} should be yours."', **extra)
    if "cake" in prize or "apples" in prize or "honey" in prize:
        t.say("{h} was so happy that {h.he} shared the {pnoun} with everyone.", **extra)
    else:
        t.say("{h} was [very proud|so happy that {h.he} could not speak], and {h.he} let {f} hold the {pnoun} too.", **extra)
    t.closing("{h} learned that it is better to be kind than to be first.",
              "From that day on, {h} and {f} were best friends, and they ran together every day.",
              "{h} had lost the race, but {h.he} had won a friend.")


PLANTS = [("seed", "a tall sunflower", "sunflower"), ("seed", "a big orange pumpkin", "pumpkin"),
          ("apple seed", "a small apple tree", "tree"), ("seed", "a red rose", "rose"),
          ("bean", "a tall green bean plant", "plant"), ("seed", "a sweet strawberry plant", "plant")]


def garden(t):
    """A seed needs patience."""
    seed, grown, noun = t.rng.choice(PLANTS)
    giver = t.rng.choice(["grandmother", "grandfather", "mother", "father"])
    extra = {"seed": seed, "grown": grown, "noun": noun, "giver": giver}
    t.opening("{h} did not like to wait.", "{h} liked everything to happen at once.",
              "{h.He} wished for a garden of {h.his} own.")
    t.paragraph()
    t.say('One spring [day|morning], {h.his} {giver} gave {h.him} a [tiny|small|little] {seed}. "[Plant it and take care of it|Put it into the ground and give it water]," said {h.his} {giver}, "and you will see something wonderful."', **extra)
    t.say("{h} [dug a small hole|made a hole in the ground], put the {seed} in, and gave it some water. Then {h.he} sat down and waited.", **extra)
    t.say("But nothing happened. {h.He} came back the next day, and the day after that, but [there was only brown earth|still nothing happened].")
    t.one_of('"The {seed} is broken!" cried {h}. "I will dig it up."',
             '"This is no good," said {h}. "I do not want to wait anymore."', **extra)
    t.say("{f}, a {f.trait} {f.kind} who lived next door, [heard {h.him}|looked over the fence].")
    t.say('"[Do not dig it up|Wait a little longer]," said {f}. "A {seed} needs [sun and rain and time|time to grow|a long sleep in the earth]. [You cannot see it, but it is growing|Be patient]."', **extra)
    t.paragraph()
    t.say("So {h} waited. {h.He} gave the {seed} water every [day|morning]. [Sometimes {f} came to help, and they sang a song for it.|When the wind was cold, {h.he} covered the earth with leaves.|When the sun was hot, {h.he} gave it some more water.]", **extra)
    t.say("[The rain fell, and the sun shone.|] Then one morning, {h} saw [a tiny green leaf|something small and green].")
    t.say('"[Come and look|It is growing|Look, {f}]!" {h.he} [cried|called], and {h.he} danced [with joy|around the garden].')
    t.say("The little plant grew and grew, and by the end of summer it was {grown}. [It was the most beautiful {noun} that {h} had ever seen|Everyone came to look at it].", **extra)
    t.one_of('"You were right," said {h} to {f}. "It only needed time."',
             '"Thank you for telling me to wait," said {h} to {f}.', chance=0.6)
    t.maybe(0.25, "{h.His} {giver} was very proud of {h.him}.", **extra)
    t.closing("{h} learned that good things take time.",
              "From that day on, {h} was much more patient.",
              "The next spring, {h} and {f} planted a whole garden together.",
              "And whenever {h} had to wait for something, {h.he} thought of the little %s." % seed)


SOUP = [("a carrot", "from the field"), ("an onion", "from the garden"),
        ("a potato", "from the field"), ("some mint", "from the side of the stream"),
        ("some beans", "from the garden"), ("some milk", "from the cow")]
TEA = [("some honey", "from the bees"), ("some mint", "from the side of the stream"),
       ("a lemon", "from the garden"), ("some berries", "from the woods"),
       ("an apple", "from the old tree")]


def sick_friend(t):
    """The hero gathers three things to make a sick friend well."""
    dish = t.rng.choice(["soup", "tea"])
    (a, af), (b, bf), (c, cf) = t.rng.sample(SOUP if dish == "soup" else TEA, 3)
    extra = {"a": a, "af": af, "b": b, "bf": bf, "c": c, "cf": cf, "dish": dish,
             "the_c": "the " + c.split(" ", 1)[1]}
    helper = t.rng.choice(["grandmother", "mother", "grandfather"])
    extra["who"] = helper
    t.opening("{h.His} best friend was {f}, a {f.trait} {f.kind}.",
              "{h} had a good friend, a {f.trait} {f.kind} named {f}.",
              "{h} and {h.his} friend {f}, a {f.trait} {f.kind}, played together every day.")
    t.paragraph()
    t.say("{time}, {f} did not come out to play. {h} [went to {f.his} house|knocked on {f.his} door].")
    t.say("{f} was in bed, and {f.his} [face was hot|nose was red]. \"I am sick,\" {f.he} said[ in a weak voice|]. \"I cannot play today.\"")
    t.one_of("{h} was [sad|worried]. {h.He} wanted to make {h.his} friend well again.",
             '"Stay in bed," said {h}. "I will bring you something that will help."', chance=0.6)
    t.say('{h} ran home. "{f} is sick," {h.he} told {h.his} {who}. "What can I do?"', **extra)
    t.say('"[Warm|Hot] {dish} is good for a sick friend," said {h.his} {who}. "Bring me %s, and we will make some."'
          % ("{a} and {c}" if t.simple else "{a}, {b}, and {c}"), **extra)
    t.say("[So {h} set out at once.|So {h} took a basket and went out.] [First|First of all], {h.he} got {a} {af}.", **extra)
    if not t.simple:
        t.say("Then {h.he} got {b} {bf}.", **extra)
    t.one_of("But it was not easy to find {the_c}. {h} looked for a long time, and {h.his} legs grew tired.",
             "Then it began to rain, and {h} wanted to go home. But {h.he} thought of {f} and went on.", **extra)
    t.say("[At last|Finally], {h.he} got {c} {cf}.", **extra)
    t.paragraph()
    t.say("{h} and {h.his} {who} made the {dish} together, and it smelled [wonderful|so good].", **extra)
    t.say("Then {h} carried it to {f}, very carefully, so that [nothing would spill|not a drop was lost].", **extra)
    t.say('{f} [drank|tasted] the {dish}. "[This is the best {dish} in the world|It is so good and warm|I feel better already]," {f.he} said.', **extra)
    t.one_of("{h} sat by the bed and told {f.him} stories until {f.he} fell asleep.",
             "{h} put a warm blanket around {f.him} and sang a soft song.", chance=0.5)
    t.say("[The next morning|After two days|The next day], {f} was well again, and the two friends {game}.")
    t.maybe(0.3, '"[You made me well again|You took such good care of me]," said {f}. "Thank you, {h}."')
    t.closing("{h} learned that a little care can help a lot.",
              "{f} never forgot what {h} had done.",
              "And when {h} was sick one day, {f} made some %s for {h.him}." % dish,
              "A friend who cares is the best medicine of all.")


def storm(t):
    """The hero gives shelter to a stranger, who helps in turn."""
    t.opening("{h} had a small {h.home}, with one bed, one chair, and one table.",
              "{h.His} {h.home} was very small, but it was warm and dry.",
              "{h} lived alone in a tiny {h.home}, and {h.he} liked it that way.", family=False)
    t.paragraph()
    t.say("One [dark|cold|stormy|winter] night, [there was a great storm|a great storm came]. The [wind blew|thunder rolled] and the rain fell [hard|and fell].")
    t.say("{h} was sitting by the [warm|little] fire when there was a knock at the door.")
    t.one_of('"Who can that be?" thought {h}.', '"Who is there?" asked {h}.', chance=0.4)
    t.say("Outside stood a {f.kind}, [wet and cold|wet from head to toe]. \"[My name is|I am] {f},\" {f.he} said. \"[The storm broke my house|The wind blew my house down|I have no place to stay]. May I come in?\"")
    t.one_of('{h} thought of {h.his} small {h.home}. "There is only one bed," {h.he} said. '
             "But {f} was [so cold that {f.he} was shaking|so tired and so wet], and {h} felt sorry for {f.him}.",
             "{f} was [so cold that {f.he} was shaking|so tired and so wet], and {h} felt sorry for {f.him}.",
             '"My {h.home} is very small," said {h}, "but it is warm."')
    t.say('"[Come in|Please come in]," said {h}. "[We will make room|There is always room for one more]."')
    t.say("{h} gave {f} a [dry|warm] blanket and {treat}. That night, {f} slept in the bed, and {h} slept [on the floor|in the chair].")
    t.paragraph()
    t.say("In the morning, the storm was over, and the sun was shining. But [the wind had made a big hole in the roof|the roof was broken]!")
    t.one_of('"Oh no," said {h}. "How can I mend the roof all alone?"', '"My poor roof!" cried {h}. "What will I do?"', chance=0.5)
    t.say('"[You are not alone|Let me help you]," said {f}. "You [helped me|were kind to me], and now I will help you."')
    t.say("{f} was very good with wood and nails. [All morning, they worked side by side, and soon|All day long, they worked side by side, and by evening] the roof was [as good as new|better than before].")
    t.say('"[Why do you not stay here|Will you stay with me]?" asked {h}. "[We can build a second room|It is nicer with two]." {f} [was so happy that {f.he} began to cry|smiled and said yes].')
    t.closing("From that day on, the small {h.home} was full of laughter.",
              "{h} learned that there is always room for a friend.",
              "{h} learned that kindness comes back to you.",
              "And {h} was never alone in a storm again.")


def moon(t):
    """The hero wants to catch the moon or a star and learns to look at it."""
    what = t.rng.choice(["moon", "star"])
    that = "the moon" if what == "moon" else "the brightest star"
    extra = {"that": that, "what": what}
    t.recast(t.h, avoid=SWIMMERS | FLYERS)
    t.opening("Every night, {h} looked up at %s." % that,
              "{h} thought that %s was the most beautiful thing in the world." % that,
              "More than anything, {h} wanted to have %s." % that)
    t.maybe(0.6, '"[If I had it, I would never be in the dark|I want to keep it in my room|How I wish that it were mine]," {h.he} said.')
    t.paragraph()
    t.say("One [clear|warm|quiet|summer] night, {h} [decided to catch it|went out to catch it].")
    t.say("First, {h.he} climbed to the top of the hill and [stretched out {h.his} {h.paw}|jumped as high as {h.he} could]. But {that} was still too far away.", **extra)
    t.maybe(0.6, "Then {h.he} [climbed a tall tree|stood on the roof of the barn|put a ladder on top of a box], but {that} was [no closer|just as far away].", **extra)
    t.say("At last, {h} came to the pond, and there was {that}, right in the water!", **extra)
    t.say('"Now I have you!" {h.he} cried, and {h.he} jumped in. Splash! The water moved, and the {what} broke into a hundred pieces.', **extra)
    t.one_of('"I broke it!" cried {h}, and {h.he} began to cry.', '"Oh no!" said {h}. "Now it is gone forever."')
    t.say("{f}, a {f.trait} {f.kind} who lived by the pond, [woke up|came to see]. \"[Why are you crying|What is the matter]?\" {f.he} asked.")
    t.say('"I wanted to catch {that}, but I broke it," said {h}.', **extra)
    t.paragraph()
    t.say("{f} [laughed softly|smiled] and pulled {h.him} out of the water. \"[Look up|Look at the sky],\" {f.he} said. There was {that}, [as bright as before|bright and safe].", **extra)
    t.say('"What you saw in the water was only a picture," said {f}. "[Nobody can keep the {what}. It shines for all of us.|The {what} does not belong to anyone. It belongs to everyone.]"', **extra)
    t.one_of('{h} thought about it. "Then I can share it with you," {h.he} said.',
             '"So it is yours and mine and everyone\'s," said {h} slowly.')
    t.maybe(0.7, "The two of them sat down in the grass and looked up at the sky. {f} had [brought|made] {treat}, and they ate together.")
    t.closing("From that night on, they met by the pond to look at %s together." % that,
              "{h} learned that the most beautiful things are there for everyone.",
              "{h} did not have %s, but {h.he} had a friend, and that was even better." % that)


PLOTS = [lost_thing, stuck_thing, new_friend, sharing, brave, build, truth,
         lost_way, race, garden, sick_friend, storm, moon]


def story(rng, simple=False):
    """One story as text; `simple`: known names only, and shorter errands."""
    teller = Teller(rng, simple)
    rng.choice(PLOTS)(teller)
    return teller.text()


def stories(count, seed, simple=False):
    """Yields `count` stories; the same seed yields the same stories."""
    rng = random.Random(seed)
    for _ in range(count):
        yield story(rng, simple)


def main():
    parser = argparse.ArgumentParser(description="Writes simple stories.")
    parser.add_argument("--count", type=int, default=3, help="number of stories")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random choices")
    parser.add_argument("--simple", action="store_true",
                        help="known names only, and shorter errands")
    parser.add_argument("--out", help="file to write (default: standard output)")
    args = parser.parse_args()
    out = open(args.out, "w", encoding="utf-8") if args.out else sys.stdout
    out.write("\n\n".join(stories(args.count, args.seed, args.simple)) + "\n")
    if args.out:
        out.close()


if __name__ == "__main__":
    main()
