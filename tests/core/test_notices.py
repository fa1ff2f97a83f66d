"""What is left out or changed is said once, to whoever listens."""

import pytest
from pack.vqdiffusion_core.cli import main
from pack.vqdiffusion_core.notices import Notice, notices_to, notify


def test_a_python_program_hears_a_warning():
    with pytest.warns(Notice, match="2 words were left out"):
        notify("2 words were left out.")


def test_a_listener_hears_each_line_once_and_only_within_its_block():
    heard, within = [], []
    with notices_to(heard.append):
        notify("first")
        with notices_to(within.append):
            notify("second")
        for line in ("first", "third"):
            notify(line)
    assert heard == ["first", "third"] and within == ["second"]


@pytest.mark.parametrize(("rank", "said"), [("0", 1), ("1", 0)])
def test_the_command_says_it_on_stderr_in_one_of_its_processes(rank, said, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("pack.vqdiffusion_core.cli.run_info", lambda options: [notify("left out.") for _ in range(2)])
    assert main(["info"]) == 0
    assert capsys.readouterr() == ("", "vqdiffusion: left out.\n" * said)
