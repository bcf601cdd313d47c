/** A model's configuration as it stands beside its checkpoint, read by key; null is a missing value. */
export class Config {
  constructor(private readonly values: Readonly<Record<string, unknown>>) {}

  /** @param config a parsed `config.json`, or its text */
  static from(config: string | object): Config {
    const values = typeof config === 'string' ? JSON.parse(config) : config;
    if (values === null || typeof values !== 'object' || Array.isArray(values)) {
      throw new TypeError('loadModel: the config must be a JSON object');
    }
    return new Config(values);
  }

  private read<T>(key: string, kind: string, is: (value: unknown) => value is T, fallback?: T): T {
    const value = this.values[key] ?? fallback;
    if (is(value)) return value;
    throw new TypeError(`config: ${key} is ${JSON.stringify(this.values[key])}; expected ${kind}`);
  }

  has(key: string): boolean {
    return this.values[key] !== undefined && this.values[key] !== null;
  }

  is(key: string, value: unknown): boolean {
    return this.values[key] === value;
  }

  number(key: string, fallback?: number): number {
    const value = this.values[key];
    if (value === 'Infinity' || value === '-Infinity') return Number(value);
    return this.read(key, 'a number', (v): v is number => typeof v === 'number', fallback);
  }

  string(key: string, fallback?: string): string {
    return this.read(key, 'a string', (v): v is string => typeof v === 'string', fallback);
  }

  boolean(key: string, fallback?: boolean): boolean {
    return this.read(key, 'true or false', (v): v is boolean => typeof v === 'boolean', fallback);
  }

  list<T extends number | string | boolean>(key: string, fallback?: readonly T[]): readonly T[] {
    return this.read(key, 'a list', (v): v is readonly T[] => Array.isArray(v), fallback);
  }

  object(key: string): Config | undefined {
    if (!this.has(key)) return undefined;
    const isObject = (v: unknown): v is Record<string, unknown> => typeof v === 'object' && !Array.isArray(v);
    return new Config(this.read(key, 'an object', isObject));
  }

  /** The numbers of a list, or the one that stands there alone. */
  numbers(key: string): readonly number[] {
    if (!this.has(key)) return [];
    return Array.isArray(this.values[key]) ? this.list<number>(key) : [this.number(key)];
  }

  /** The objects of a list, or the one that stands there alone. */
  objects(key: string): Config[] {
    const value = this.values[key] ?? [];
    return (Array.isArray(value) ? value : [value]).map((one) => new Config(one));
  }

  /** A number, or undefined where there is none. */
  optional(key: string): number | undefined {
    return this.has(key) ? this.number(key) : undefined;
  }
}
