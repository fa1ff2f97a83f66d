"""What the built-in scenes show: one emoji a line, then what people call it, the plainest name first.

The first 76 are the subjects of the first pocket model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    glyph: str
    phrases: tuple[str, ...]  # each with the article that it takes: "an owl", "a unicorn", "bread"

    @property
    def phrase(self) -> str:
        return self.phrases[0]

    @property
    def name(self) -> str:
        """The plainest name, without an article."""
        return self.phrase.removeprefix("an ").removeprefix("a ")


TABLE = """
🐶 a dog, a puppy, a dog face
🦊 a fox, a fox head
🐱 a cat, a kitten, a cat face
🦁 a lion
🐯 a tiger
🦄 a unicorn
🐷 a pig, a piglet
🐭 a mouse, a mouse face
🐰 a rabbit, a bunny
🐻 a bear, a brown bear
🐼 a panda
🐸 a frog
🐘 an elephant
🐢 a turtle, a tortoise
🐙 an octopus
🐬 a dolphin
🐟 a fish
🦋 a butterfly
🐞 a ladybug, a ladybird, a lady beetle
🦀 a crab
🐔 a chicken, a hen
🐧 a penguin
🦆 a duck
🦉 an owl
🍎 a red apple, an apple
🍋 a lemon
🍌 a banana
🍉 a watermelon, a slice of watermelon
🍇 grapes, a bunch of grapes
🍓 a strawberry
🍍 a pineapple
🍅 a tomato
🥕 a carrot
🌽 corn, an ear of corn
🍄 a mushroom, a toadstool
🍞 bread, a loaf of bread
🧀 cheese, a piece of cheese
🍔 a hamburger, a burger
🍕 a pizza, a slice of pizza
🍩 a donut, a doughnut
🎂 a birthday cake, a cake
☕ a cup of coffee, a cup of tea, a hot drink
🌵 a cactus
🌴 a palm tree, a palm
🌲 a fir tree, a conifer, an evergreen tree
🌷 a tulip
🌻 a sunflower
🍁 a maple leaf
🚗 a car, a red car
🚌 a bus
🚂 a locomotive, a steam train
🚀 a rocket, a space ship
🚁 a helicopter
⛵ a sailing boat, a sailboat
🎸 a guitar
🎹 a piano, a keyboard with piano keys
🎺 a trumpet
🧸 a teddy bear, a teddy
⚽ a soccer ball, a football
🎈 a balloon
🎁 a present, a gift, a wrapped gift
👑 a crown
🔔 a bell
🔑 a key
💡 a light bulb
☂ an umbrella
🏠 a house
⭐ a star
🌙 a moon, a crescent moon
🌈 a rainbow
⛄ a snowman
🔥 fire, a flame
❤ a heart, a red heart
🎃 a pumpkin, a jack-o-lantern
👻 a ghost
🤖 a robot
🐹 a hamster
🐨 a koala
🐮 a cow, a cow face
🐵 a monkey, a monkey face
🐺 a wolf
🐴 a horse, a horse face
🦝 a raccoon
🦒 a giraffe
🦓 a zebra
🦌 a deer, a stag
🦍 a gorilla
🐆 a leopard
🐑 a sheep, a ewe
🦙 a llama, an alpaca
🦏 a rhinoceros, a rhino
🐿 a squirrel, a chipmunk
🦔 a hedgehog
🦇 a bat
🦥 a sloth
🦨 a skunk
🦘 a kangaroo
🦃 a turkey
🐓 a rooster, a cock
🐣 a hatching chick
🦅 an eagle
🦢 a swan
🦩 a flamingo
🦚 a peacock
🦜 a parrot
🐊 a crocodile, an alligator
🦎 a lizard, a gecko
🐍 a snake
🐲 a dragon, a dragon face
🦕 a dinosaur, a sauropod
🦖 a tyrannosaurus, a t-rex
🐳 a whale, a spouting whale
🦈 a shark
🐠 a tropical fish
🐚 a seashell, a shell
🐌 a snail
🐛 a caterpillar, a bug
🐝 a bee, a honeybee
🕷 a spider
🦐 a shrimp, a prawn
🦑 a squid
🍐 a pear
🍊 an orange, a tangerine
🍒 cherries, a pair of cherries
🍑 a peach
🥭 a mango
🥥 a coconut
🫐 blueberries
🍆 an eggplant, an aubergine
🥑 an avocado
🥦 broccoli
🌶 a chili pepper, a hot pepper
🫑 a bell pepper
🧄 garlic
🧅 an onion
🥔 a potato
🥐 a croissant
🥖 a baguette
🥨 a pretzel
🥞 pancakes, a stack of pancakes
🧇 a waffle
🍗 a chicken leg, a drumstick
🍟 french fries, fries, chips
🌭 a hot dog
🥪 a sandwich
🌮 a taco
🌯 a burrito
🥚 an egg
🍳 a fried egg, a frying pan
🍿 popcorn
🍜 a bowl of noodles, ramen
🍝 spaghetti, a plate of pasta
🍦 soft ice cream, an ice cream cone
🍨 a bowl of ice cream
🧁 a cupcake
🍬 a candy, a sweet
🍭 a lollipop
🍪 a cookie, a biscuit
🍯 a honey pot, honey
🥛 a glass of milk
🍵 a cup of green tea
🍷 a glass of wine
🍺 a mug of beer, a beer
🧊 an ice cube
🌳 a tree, a leafy tree
🍀 a four leaf clover, a lucky clover
🌹 a rose
🌺 a hibiscus
🌸 a cherry blossom
💐 a bouquet, a bunch of flowers
🪴 a potted plant
🎄 a christmas tree
🚕 a taxi, a yellow cab
🚓 a police car
🚑 an ambulance
🚒 a fire engine, a fire truck
🚚 a truck, a delivery truck
🚜 a tractor
🏎 a racing car
🛵 a scooter, a motor scooter
🚲 a bicycle, a bike
🚆 a train
🚋 a tram
✈ an airplane, a plane
🛸 a flying saucer, a ufo
🚢 a ship
⚓ an anchor
🎻 a violin, a fiddle
🎷 a saxophone
🥁 a drum
🎤 a microphone
🎧 headphones
📻 a radio
🏀 a basketball
🏈 an american football
⚾ a baseball
🎾 a tennis racket, a racket
🏐 a volleyball
🎯 a dartboard, a target
🎲 a die, a dice
🧩 a puzzle piece
🪁 a kite
🏆 a trophy, a cup
🏅 a medal
🎨 a palette, a paint palette
🎪 a circus tent
🎡 a ferris wheel
🎩 a top hat
👒 a straw hat
👓 glasses
👕 a t-shirt, a shirt
👗 a dress
👟 a sneaker, a running shoe
👠 a high heel shoe
🧣 a scarf
👜 a handbag
💍 a ring
💎 a diamond, a gem
📱 a phone, a mobile phone
💻 a laptop, a computer
📷 a camera
⏰ an alarm clock
🔋 a battery
🕯 a candle
📚 books, a stack of books
✂ scissors
🔒 a lock, a padlock
🔨 a hammer
🪓 an axe
🔧 a wrench, a spanner
🧲 a magnet
🔭 a telescope
💊 a pill
🪣 a bucket
🪑 a chair
🛋 a couch, a sofa
🚪 a door
🏰 a castle
⛺ a tent
🗿 a stone head, a moai
🌋 a volcano
🌍 the earth, a globe
☀ the sun, a sun
☁ a cloud
⚡ lightning, a bolt of lightning
❄ a snowflake
💧 a drop of water
🌊 a wave
👽 an alien
💀 a skull
👾 a space invader
💣 a bomb
🪙 a coin
📦 a box, a parcel
🚦 a traffic light
"""


def read_table(text: str) -> tuple[Subject, ...]:
    lines = (line.split(" ", 1) for line in text.strip().splitlines())
    return tuple(Subject(glyph, tuple(phrases.split(", "))) for glyph, phrases in lines)


SUBJECTS = read_table(TABLE)
