from services.trainer.support.last_words import LastWords


def test_last_words_are_few_short_and_tell_no_folders() -> None:
    words = LastWords()
    for number in range(50):
        words.hear(f"line {number}\n")
    words.hear("\n")
    words.hear('  File "/usr/lib/python3/site-packages/torch/nn.py", line 3, in forward' + "!" * 1000)
    lines = str(words).splitlines()
    assert len(lines) == 12
    assert lines[-1].startswith('  File "…/nn.py", line 3')
    assert all(len(line) <= 300 for line in lines)
