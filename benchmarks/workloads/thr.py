"""Eight threads that allocate side by side."""

import threading


def work(number: int) -> None:
    for turn in range(2800):
        [f"{number} {turn} {row}" for row in range(500)]


threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
