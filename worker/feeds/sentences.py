"""What is said in the home of `home.py`: sentences by label, many of which name what another label is about."""

from __future__ import annotations

SLOTS = {
    "name": ("Anna", "Ben", "Mei", "Omar", "Lena", "Paul", "grandma", "the neighbour", "my sister", "a colleague"),
    "hour": ("five", "six", "half past six", "seven", "eight", "nine", "ten"),
    "minutes": ("ten", "fifteen", "twenty", "thirty", "forty"),
    "food": ("soup", "pasta", "rice", "fish", "a salad", "dumplings", "pancakes", "a cake"),
    "place": ("town", "the lake", "work", "the station", "the gym", "school", "the market"),
    "room": ("kitchen", "hall", "bathroom", "bedroom", "living room"),
    "day": ("Monday", "Tuesday", "Friday", "Sunday"),
}

_COMPANY = (
    "{name} eats with us tonight, {food} for everybody",
    "play some music, we have company for dinner",
    "{name} brings {food} at {hour}",
    "dinner with {name} at {hour}, more light in the {room} please",
    "we are not going out, {name} comes here to eat",
    "nobody is asleep here, turn the music up for {name}",
    "do not turn the lights off, {name} is here and we eat",
    "nobody has fallen, {name} only dropped a pan",
    "no need for help, we are laughing about {name}",
    "the noise was {name} with the {food}, all is well",
)
_QUIET = (
    "no calls for the next {minutes} minutes",
    "do not disturb me until {hour}",
    "I am getting ready for bed",
    "turn off the lights in the {room}, good night then",
    "lower the blinds, I want some rest",
    "no visitors now please, I need {minutes} minutes for myself",
    "I am not leaving any more today, lower the blinds",
    "that was no alarm, I only closed the cabinet, good night",
    "I do not need help, I need some quiet",
    "no dinner for me, only {minutes} minutes of peace",
)
TEXTS = {
    "away": (
        "I am leaving now, back at {hour}",
        "we are off to {place}",
        "lock up behind me, I am going to {place}",
        "nobody will be home until {hour}",
        "start the vacuum when I am gone",
        "see you at {hour}, watch the house",
        "no dinner tonight, I eat in {place}",
        "I am not going to bed, I am going out",
        "{name} is not coming here, I am driving to {place}",
        "no help needed, I only forgot my keys, bye now",
    ),
    "cooking": (*_COMPANY, "set a timer of {minutes} minutes for the {food}", "how much salt for {food}",
                "I am not hungry yet but the {food} is on the stove", "next step of the recipe for {food}"),
    "emergency": (
        "help, I have fallen",
        "call {name}, I cannot get up",
        "something broke and I am hurt",
        "please call an ambulance",
        "there is smoke in the {room}",
        "someone is breaking in, call the police",
        "no, I am not all right",
        "this is not a test, get help",
        "I did not go out, I am on the floor of the {room}",
        "{name} is not asleep, she does not wake up, call a doctor",
    ),
    "shower": _QUIET,
    "sleeping": _QUIET,
    "visitor": (*_COMPANY, "{name} is at the door", "open the door for {name}", "come in, take off your coat",
                "that is not {name} at the door, who is it"),
}  # fmt: skip
# About nothing of this.
OTHER = (
    "what is the weather on {day}",
    "remind me of the bins on {day}",
    "how late is it",
    "tell me a joke",
    "add {food} to the shopping list",
    "what is on television at {hour}",
    "how long is the way to {place}",
)
