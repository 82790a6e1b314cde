const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$/;

export function isVmName(text: string): boolean {
  return NAME.test(text);
}

/** A name that can be a VM's, made of an image's. */
export function nameFrom(image: string): string {
  const name = image.replace(/[^A-Za-z0-9._-]/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return name.slice(0, 32) || 'vm';
}
