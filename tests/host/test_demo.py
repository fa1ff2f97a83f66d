from pack.tests.host import demo


def test_the_demo_draws_what_its_prompt_says(comfy):
    drawn = demo.draw(comfy, "a red apple on a blue background")
    red, green, blue, *_ = drawn.image.convert("RGB").resize((8, 8)).tobytes()
    assert blue > max(red, green), "the corner of the image is not blue"


def test_without_a_prompt_the_demo_draws_the_one_of_the_workflow(comfy):
    assert demo.draw(comfy, "").text
