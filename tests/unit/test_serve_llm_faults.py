"""Faults of the engine behind the OpenAI-compatible server: what requests hear of them, and that it starts again."""

import threading
from urllib.request import urlopen

import pytest

from genir.errors import GenirError
from genir.protocols import SamplingParams
from rag.llama.runner import StageError
from rag.serving.loop import EngineDownError, EngineLoop, Listen, Update, _Listener
from tests.scripted_engine import ScriptedEngine
from tests.served_engine import Served, complete, fault_of, health, openai, wait_for


def test_a_fault_ends_every_request_and_the_engine_starts_again(served: Served) -> None:
    served.engine.faults = [GenirError("stage 1 of 2 died"), ValueError("a fault of ours")]
    status, error = fault_of(lambda: complete(served))
    assert (status, error["type"], error["message"]) == (500, "server_error", "stage 1 of 2 died")
    wait_for(lambda: served.engine.starts == 2)
    status, error = fault_of(lambda: complete(served))
    assert (status, error["message"]) == (500, "the engine broke: ValueError('a fault of ours')")
    wait_for(lambda: served.engine.starts == 3)
    assert complete(served).choices[0].text == "hello"


def test_a_fault_in_mid_stream_is_an_event(served: Served) -> None:
    served.engine.faults, served.engine.fault_after = [GenirError("stage 0 hangs")], 3
    events = iter(complete(served, stream=True))
    pieces = [next(events).choices[0].text for _ in range(3)]
    with pytest.raises(openai.APIError, match="stage 0 hangs"):
        next(events)
    assert pieces == ["h", "e", "l"]


def test_while_the_engine_is_down_requests_are_refused(served: Served) -> None:
    served.engine.restart_fault = GenirError("the shards are gone")
    served.engine.faults = [GenirError("stage 1 of 2 died")]
    assert fault_of(lambda: complete(served))[0] == 500
    wait_for(lambda: fault_of(lambda: complete(served))[1]["message"] == "the engine is down: the shards are gone")
    with pytest.raises(openai.APIStatusError) as caught:
        complete(served)
    assert (caught.value.status_code, caught.value.response.headers["retry-after"]) == (503, "2")
    with pytest.raises(OSError, match="503"):
        urlopen(served.url.removesuffix("/v1") + "/health")


def test_stages_that_die_while_nothing_runs_are_started_again(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were once noticed by the next request, which they cost."""
    served.engine.stage_fault = StageError("stage 1 was killed")
    assert complete(served).choices[0].text == "hello"
    assert served.engine.starts == 2
    monkeypatch.setattr("rag.serving.loop._LOOK", 0.02)
    assert complete(served).choices[0].text == "hello"
    served.engine.stage_fault = StageError("stage 1 was killed")
    wait_for(lambda: served.engine.starts == 3)
    wait_for(lambda: health(served) == {"status": "ok"})


def test_a_request_that_meets_a_fault_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look whether the engine is up and the queue a fault once fitted: the request ended well, and "cancelled"."""
    loop = EngineLoop(ScriptedEngine())  # type: ignore[arg-type]
    error, heard = GenirError("stage 0 died"), list[Update]()
    failing = threading.Thread(target=loop._fail, args=(error,))

    class Listener(_Listener):
        def __init__(self, listen: Listen) -> None:
            super().__init__(listen)
            failing.start()
            failing.join(0.3)

    monkeypatch.setattr("rag.serving.loop._Listener", Listener)
    request = loop.submit([104], SamplingParams(), heard.append)
    failing.join()
    assert [update.error for update in heard] == [error]
    loop._listeners.clear()
    request.finish_reason = "cancelled"
    assert request.on_update is not None
    request.on_update(request)
    assert len(heard) == 1  # what has ended ends once
    with pytest.raises(EngineDownError, match="the engine is down: stage 0 died"):
        loop.submit([104], SamplingParams(), heard.append)
    loop.close()
    with pytest.raises(EngineDownError, match="the server is shutting down"):
        loop.submit([104], SamplingParams(), heard.append)


def test_closing_ends_what_runs() -> None:
    engine = ScriptedEngine()
    heard: list[Update] = []
    loop = EngineLoop(engine)  # type: ignore[arg-type]
    engine.go.clear()
    loop.start()
    loop.submit([104, 105], SamplingParams(), heard.append)
    loop._stopping = True
    engine.go.set()
    loop.close()
    assert heard[-1].finish_reason == "error"
    assert str(heard[-1].error) == "the server is shutting down"
