// Reads a file into the field that carries it; a sealed one that is no text is put into letters.
"use strict";
(() => {
  const file = document.getElementById("file");
  const content = document.getElementById("content");
  if (!file || !content) return;
  const INTRO = "age-encryption.org/v1";
  const LINE = 64;
  // More than the box takes is not worth reading.
  const BYTES_MAX = 1 << 20;

  function inLetters(octets) {
    let text = "";
    for (const octet of octets) text += String.fromCharCode(octet);
    const lines = btoa(text).match(new RegExp(`.{1,${LINE}}`, "g"));
    return `-----BEGIN AGE ENCRYPTED FILE-----\n${lines.join("\n")}\n-----END AGE ENCRYPTED FILE-----\n`;
  }

  file.closest(".with-script").hidden = false;
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen) return;
    const octets = new Uint8Array(await chosen.slice(0, BYTES_MAX).arrayBuffer());
    const text = new TextDecoder().decode(octets);
    content.value = text.startsWith(INTRO) ? inLetters(octets) : text;
  });
})();
