import hashlib

import numpy as np
import pytest

from agents.routing.task import task_of
from agents.routing.text.features import BUCKETS, SHAPE, features
from agents.routing.text.model import TASKS, shipped, task_of_text
from schemas.requests import ChatRequest, request_of


def asked(text, **more) -> ChatRequest:
    return request_of({"messages": [{"role": "user", "content": text}], **more}, 100)


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Write a python function that reverses a linked list.", "code"),
        ("Write a poem about the sea in the style of a ballad.", "creative_writing"),
        ("hi there, how are you doing today?", "conversation"),
        ("A farmer has 12 cows and sells 5 of them for $300 each. How much money does he get?", "math"),
        ("Analyze the impact of the new tax policy on small companies.", "analysis"),
        ("If all cats are animals and some animals are black, does it follow that some cats are black?", "reasoning"),
    ],
)
def test_words_say_the_task(text, task):
    assert task_of(asked(text)) == task


def test_what_the_request_names_wins_over_its_structure():
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert task_of(asked("2 + 2?", tools=tools, routing={"task": "math"})) == "math"


def test_structure_wins_over_words():
    poem = "Write a poem about the sea."
    assert task_of(asked(poem, tools=[{"type": "function", "function": {"name": "f"}}])) == "function_calling"
    image = [{"type": "text", "text": poem}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert task_of(asked(image)) == "multimodal"
    assert task_of(asked(poem + "\n```\nx = 1\n```")) == "code"


def test_a_json_schema_turns_talk_into_analysis_and_leaves_the_rest():
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {}}}
    assert task_of(asked("hi there, how are you?", response_format=schema)) == "analysis"
    assert task_of(asked("Solve for x: 3x + 5 = 20", response_format=schema)) == "math"


def test_the_last_user_message_is_read_and_a_system_prompt_is_not():
    body = {
        "messages": [
            {"role": "system", "content": "Answer in ```json fences."},
            {"role": "user", "content": "Write a python function that sorts a list."},
            {"role": "assistant", "content": "Here it is."},
            {"role": "user", "content": "Thanks! How was your weekend?"},
        ]
    }
    assert task_of(request_of(body, 100)) == "conversation"


@pytest.mark.parametrize("content", ["", "   ", None, []])
def test_no_words_are_a_conversation(content):
    assert task_of(asked(content)) == "conversation"


def test_the_shipped_model_fits_the_features():
    model = shipped()
    assert model.shape.shape == (SHAPE, len(TASKS))
    assert model.buckets.shape == (BUCKETS, len(TASKS))
    assert model.bias.shape == (len(TASKS),)


def test_features_are_the_same_on_every_machine():
    seen = features("Let $x$ be 3.\nHow many été? def f(): return 1")
    digest = hashlib.sha256(np.concatenate((seen.shape, seen.buckets)).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "513f7ad545265c11"


def test_the_middle_of_a_long_text_is_not_read():
    text = "Write a story about a dragon. " * 100
    assert task_of_text(text) == task_of_text(text[:1500] + "def f(): return 1\n" * 50 + text[1500:])
