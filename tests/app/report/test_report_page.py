"""The report in a real browser: Chromium, driven by Playwright, which downloads nothing here."""

import shutil

import pytest

from jaxstyle.app.report.page import write_report
from tests.app.report.browsers import open_browser, until
from tests.run_folders import make_run

HOSTILE = "<script>window.taken=1;</script>\"'><img src=x onerror=window.taken=1>"


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def show(browser):
    """Open the report of a folder; at the end, no error has occurred and nothing has been fetched from elsewhere."""
    contexts, troubles = [], []

    def show(folder, scheme="light", fragment="", **options):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1400, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("requestfailed", lambda request: troubles.append(f"failed: {request.url[:200]}"))
        home = folder.as_uri()
        page.on("request", lambda r: r.url.startswith((home, "data:")) or troubles.append(f"asked for {r.url[:200]}"))
        file = folder / "report.html"
        page.goto((file if file.exists() else write_report(folder)).as_uri() + fragment)
        return page

    yield show
    for context in contexts:
        context.close()
    assert not troubles


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return make_run(
        tmp_path_factory.mktemp("report") / "run", tvs=(1, 30), contents=("cat", "coffee"), styles=("swirls", "mosaic")
    )


def picture(page):
    """Return the name of the file that the viewer shows, when it has been loaded."""
    until(page, "document.getElementById('picture').src.startsWith('file:')")
    return page.evaluate("document.getElementById('picture').src.split('/').pop()")


def pixels(page):
    """Take a picture of the viewer's stage when its full image has been loaded."""
    picture(page)
    return page.locator("#stage").screenshot()


def beta(page):
    return page.locator("input[aria-label='beta']")


def lane(page):
    return int(page.locator("#name").inner_text().removeprefix("Lane "))


def test_the_slider_flips_through_the_lanes_in_place(show, run):
    page = show(run)
    slider = beta(page)
    seen = set()
    for rank, value in enumerate(("0.01", "0.1", "1", "10", "100")):
        slider.fill(str(rank))
        assert page.locator(".slider b").inner_text() == value
        assert slider.get_attribute("aria-valuetext") == value
        until(page, f"document.getElementById('picture').src.endsWith('lane_{rank:04d}.png')")
        assert page.locator("#picture").get_attribute("alt") == f"Result of lane {rank}: beta {value}"
        assert page.locator(".card[aria-current]").get_attribute("data-index") == str(rank)
        assert f"--beta {value} " in page.locator("#command").inner_text()
        seen.add(pixels(page))
    assert len(seen) == 5
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert lane(page) == 3


def test_a_report_that_was_sent_alone_shows_its_small_pictures(browser, run, tmp_path):
    shutil.copy(write_report(run), tmp_path / "report.html")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    beta(page).fill("0")
    page.wait_for_timeout(200)
    assert page.evaluate("document.getElementById('picture').src.startsWith('data:image/webp')")
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 64
    page.close()


def test_content_style_and_difference_are_a_key_away(show, run):
    page = show(run)
    beta(page).fill("4")
    result = pixels(page)
    views = {}
    for key, name in (("c", "content"), ("s", "style")):
        page.keyboard.press(key)
        until(page, f"document.getElementById('picture').src.endsWith('{name}_0000.png')")
        assert page.locator(f"[data-view={name}]").get_attribute("aria-pressed") == "true"
        assert page.locator("#picture").get_attribute("alt").startswith(f"{name.capitalize()} image")
        views[name] = pixels(page)
        page.keyboard.press(key)
    until(page, "document.getElementById('picture').src.endsWith('lane_0004.png')")
    page.keyboard.press("d")
    views["difference"] = pixels(page)
    assert page.locator("#viewing").inner_text().startswith("Difference")
    page.keyboard.press("Escape")
    assert page.locator("[data-view=result]").get_attribute("aria-pressed") == "true"
    assert len({result, *views.values()}) == 4
    page.locator("[data-view=content]").click()
    until(page, "document.getElementById('picture').src.endsWith('content_0000.png')")


def test_the_difference_of_the_content_from_itself_is_black(show, tmp_path):
    page = show(make_run(tmp_path / "run", betas=(1, 2), picture=lambda content, *_: content))
    page.keyboard.press("d")
    until(page, "document.getElementById('under').src.startsWith('file:')")
    page.evaluate("document.getElementById('viewing').hidden = true")
    file = tmp_path / "stage.png"
    page.locator("#stage").screenshot(path=file)
    from PIL import Image

    with Image.open(file) as image:
        (low, high), *_ = image.convert("L").crop((20, 20, image.width - 20, image.height - 20)).getextrema(), 0
    assert (low, high) == (0, 0)


def test_a_click_in_the_plane_opens_the_lane_and_hovering_names_it(show, run):
    page = show(run)
    for plane in (0, 1):
        for index in (0, 4):
            point = page.locator(".plane").nth(plane).locator(f".point[data-index='{index}']")
            point.scroll_into_view_if_needed()
            point.hover()
            assert page.locator("#tip").is_visible()
            assert f"Lane {index}: beta {(0.01, 0, 0, 0, 100)[index]}" in page.locator("#tip").inner_text()
            point.click()
            assert lane(page) == index
            assert picture(page) == f"lane_{index:04d}.png"
            assert page.locator("#tip").is_hidden()
            assert page.url.endswith(f"#lane={index}")
            assert page.locator(".point.current").count() == 2
            assert page.locator(".line.current").count() == 5
    until(page, "Math.abs(document.getElementById('viewer').getBoundingClientRect().top) < 40")


def test_keys_reach_everything(show, pairs):
    page = show(pairs)
    start = lane(page)
    page.keyboard.press("ArrowLeft")
    assert lane(page) == start - 1
    page.locator("#stage").focus()
    page.keyboard.press("ArrowUp")
    assert lane(page) == start + 4
    page.keyboard.press("ArrowRight")
    assert lane(page) == start + 5
    page.locator(".card[aria-current]").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert lane(page) == 6
    assert page.evaluate("document.activeElement.id") == "stage"
    page.locator(".point.current").first.focus()
    page.keyboard.press("ArrowLeft")
    focused = page.evaluate("Number(document.activeElement.dataset.index)")
    assert focused != 6
    assert f"Lane {focused}" in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    assert lane(page) == focused
    # The way down the page has fewer stops than a hundred.
    page.locator("#stage").focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "made":
            break
    else:
        pytest.fail("the end of the page is more than 40 stops away")


def test_images_are_chosen_by_name_and_other_pairs_step_back(show, pairs):
    page = show(pairs)
    beta(page).fill("1")
    page.locator("input[aria-label='tv']").fill("0")
    page.locator("select[data-kind=content]").select_option("coffee")
    page.locator("select[data-kind=style]").select_option("mosaic")
    assert lane(page) == 31
    assert page.locator("#picture").get_attribute("alt") == "Result of lane 31: coffee × mosaic, beta 0.1, tv 1"
    assert page.locator(".plane").first.locator(".point:not(.other)").count() == 10
    page.keyboard.press("c")
    page.locator("select[data-kind=content]").select_option("cat")
    until(page, "document.getElementById('picture').src.endsWith('content_0000.png')")


def test_the_table_sorts_by_number_and_by_name(show, pairs):
    page = show(pairs)

    def column(number):
        return page.evaluate(f"[...document.querySelectorAll('tbody tr')].map(r => r.cells[{number}].textContent)")

    heads = page.locator("thead th").all_inner_texts()
    betas = next(i for i, text in enumerate(heads) if text.startswith("beta"))
    button = page.locator("thead button").nth(betas)
    button.click()
    values = [float(text) for text in column(betas)]
    assert values == sorted(values)
    assert page.locator("thead th").nth(betas).get_attribute("aria-sort") == "ascending"
    button.click()
    assert [float(text) for text in column(betas)] == values[::-1]
    page.locator("thead button").nth(1).click()
    assert column(1) == sorted(column(1))
    assert page.locator("[aria-sort]").count() == 1
    row = page.locator("tbody tr").nth(7)
    wanted = int(row.get_attribute("data-index"))
    row.click()
    assert lane(page) == wanted


def test_what_is_no_number_sorts_last_either_way(show, tmp_path):
    page = show(make_run(tmp_path / "run", failed=(0, 2)))
    button = page.locator("thead button", has_text="lpips")
    for _ in range(2):
        button.click()
        order = page.evaluate("[...document.querySelectorAll('tbody tr')].map(r => Number(r.dataset.index))")
        assert set(order[3:]) == {0, 2}
    page.locator("#failures a").first.click()
    assert lane(page) == 0
    assert "not finite" in page.locator("#marks").inner_text()
    assert page.locator("#pick").is_hidden()


def test_many_lanes_come_in_pages(show, tmp_path):
    betas = [round(1.1**i, 4) for i in range(13)]
    page = show(make_run(tmp_path / "run", betas=betas, tvs=range(1, 11), size=24, steps=3))
    cards = page.locator(".card:visible")
    assert cards.count() == 60
    page.get_by_role("button", name="Next page").click()
    page.get_by_role("button", name="Next page").click()
    assert cards.count() == 10
    assert page.locator("#pages span").inner_text() == "121 to 130 of 130"
    assert page.get_by_role("button", name="Next page").is_disabled()
    page.locator("tbody tr").first.click()
    assert page.locator(".card[aria-current]").is_visible()


def test_the_address_opens_a_lane(show, run):
    assert lane(show(run, fragment="#lane=1")) == 1
    assert lane(show(run, fragment="#lane=77")) == lane(show(run))


def test_it_is_readable_in_the_dark(show, pairs):
    """All texts, also in plots, have a contrast of 4.5 to 1 in both colour schemes (WCAG 2.2, 1.4.3)."""
    script = """() => {
      const lightness = (text) => {
        const [r, g, b] = text.match(/[0-9.]+/g).map(Number)
          .map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const ground = lightness(getComputedStyle(document.body).backgroundColor);
      const texts = 'h1, .facts, .lead, figcaption, .plot text, td, code, dt';
      return [...document.querySelectorAll(texts)].map((element) => {
        const style = getComputedStyle(element);
        const ink = lightness(element.closest('svg') && element.tagName === 'text' ? style.fill : style.color);
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
      });
    }"""
    grounds = []
    for scheme in ("light", "dark"):
        page = show(pairs, scheme)
        assert min(page.evaluate(script)) >= 4.5
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]


def test_it_fits_a_phone(show, pairs):
    page = show(pairs)
    page.set_viewport_size({"width": 380, "height": 780})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_without_scripts_everything_but_the_viewer_is_there(show, run):
    page = show(run, java_script_enabled=False)
    assert page.locator("#viewer").is_hidden()
    assert page.locator(".card:visible").count() == 5
    assert page.locator(".point:visible").count() == 10


def test_a_run_that_has_only_begun_shows_without_an_error(show, tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "lanes.csv").unlink()
    (folder / "history.csv").unlink()
    for file in folder.glob("images/lane_*"):
        file.unlink()
    page = show(folder)
    assert page.locator("#unfinished").is_visible()
    assert page.get_by_role("img", name="Content image cat").is_visible()


def test_names_that_look_like_scripts_run_nothing(show, tmp_path):
    folder = make_run(
        tmp_path / "run", contents=("cat", "coffee"), files={"cat": HOSTILE, "mosaic": HOSTILE}, command=HOSTILE
    )
    page = show(folder)
    beta(page).fill("0")
    page.locator(".point").first.hover()
    page.keyboard.press("c")
    assert page.evaluate("window.taken") is None
    assert page.locator("#made").inner_text() == HOSTILE
