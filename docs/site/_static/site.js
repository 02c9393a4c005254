// What the theme leaves out for readers who use a keyboard or a screen reader.
(() => {
  const scrolling = "pre, .table-wrapper, .formula, .cell_output > div, .sig";
  const reachable = () => {
    for (const part of document.querySelectorAll(scrolling)) {
      if (part.scrollWidth > part.clientWidth + 1) part.tabIndex = 0; // the arrow keys then scroll it
      else part.removeAttribute("tabindex");
    }
  };
  const named = () => {
    for (const caption of document.querySelectorAll('.caption[role="heading"]')) caption.setAttribute("aria-level", "2");
    const chinese = document.documentElement.lang.startsWith("zh");
    const labels = { "sidebar-drawer": ["All pages", "所有页面"], "toc-drawer": ["On this page", "本页内容"] };
    for (const [name, words] of Object.entries(labels))
      document.querySelector(`aside.${name}`)?.setAttribute("aria-label", words[chinese ? 1 : 0]);
    for (const head of document.querySelectorAll("th"))
      if (!head.textContent.trim()) head.replaceWith(document.createElement("td"));
    reachable();
  };
  document.addEventListener("DOMContentLoaded", named);
  addEventListener("resize", reachable);
  addEventListener("load", () => document.fonts.ready.then(reachable)); // letters of another font have another width
})();

// The search in Chinese. Sphinx names a stemmer that it does not ship, and takes a sentence without spaces for one word.
if (document.documentElement.lang.startsWith("zh")) {
  window.ChineseStemmer = class {
    stemWord(word) {
      return new EnglishStemmer().stemWord(word); // Chinese words stay as they are
    }
  };
  window.splitQuery = (query) =>
    [...new Intl.Segmenter("zh", { granularity: "word" }).segment(query)].filter((part) => part.isWordLike).map((part) => part.segment);
}
