const ESCAPE = '\u001b';
/** Control sequences: ESC [ parameters final byte (ECMA-48, 5.4). */
const CONTROL_SEQUENCE = new RegExp(`${ESCAPE}\\[[0-9;?]*[@-~]`, 'g');
const UNFINISHED = new RegExp(`${ESCAPE}(\\[[0-9;?]*)?$`);

/** What a terminal would show as text, of a stream that arrives in pieces. */
export class PlainText {
  text = '';
  /** The beginning of a control sequence whose end has not arrived. */
  #held = '';

  add(piece: string): void {
    const all = (this.#held + piece).replaceAll('\r', '').replace(CONTROL_SEQUENCE, '');
    const cut = all.search(UNFINISHED);
    this.#held = cut < 0 ? '' : all.slice(cut);
    this.text += cut < 0 ? all : all.slice(0, cut);
  }
}
