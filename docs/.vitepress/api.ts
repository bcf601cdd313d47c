/** What the pages of ops take from TypeDoc's JSON. */

interface Part {
  text: string;
}
export interface Type {
  type: string;
  name?: string;
  value?: unknown;
  target?: number | object;
  operator?: string;
  types?: Type[];
  elements?: Type[];
  element?: Type;
  elementType?: Type;
  typeArguments?: Type[];
  declaration?: Declaration;
  objectType?: Type;
  indexType?: Type;
  highlightedProperties?: Record<string, Part[]>;
}
export interface Declaration {
  id: number;
  name: string;
  flags: { isOptional?: boolean };
  comment?: { summary: Part[]; blockTags?: { tag: string; content: Part[] }[] };
  type?: Type;
  defaultValue?: string;
  children?: Declaration[];
  parameters?: Declaration[];
  signatures?: Declaration[];
}

export const textOf = (parts: readonly Part[] = []) =>
  parts
    .map(({ text }) => text)
    .join('')
    .trim();

/** A type as TypeScript writes it. */
export function typeText(type: Type | undefined): string {
  if (type === undefined) return 'unknown';
  const all = (types: Type[] = [], separator: string) => types.map(typeText).join(separator);
  switch (type.type) {
    case 'literal':
      return typeof type.value === 'string' ? `'${type.value}'` : String(type.value);
    case 'union':
      return all(type.types, ' | ');
    case 'intersection':
      return all(type.types, ' & ');
    case 'array': {
      const element = typeText(type.elementType);
      return element.includes(' ') ? `(${element})[]` : `${element}[]`;
    }
    case 'typeOperator':
      return `${type.operator} ${typeText(type.target as Type)}`;
    case 'tuple':
      return `[${all(type.elements, ', ')}]`;
    case 'namedTupleMember':
      return `${type.name}: ${typeText(type.element)}`;
    case 'indexedAccess':
      return `${typeText(type.objectType)}[${typeText(type.indexType)}]`;
    case 'reflection':
      return reflectionText(type.declaration!);
    default:
      if (type.name === 'Tensor') return 'Tensor';
      return `${type.name}${type.typeArguments ? `<${all(type.typeArguments, ', ')}>` : ''}`;
  }
}

function reflectionText({ signatures, children = [] }: Declaration): string {
  if (signatures !== undefined) {
    const [{ parameters = [], type }] = signatures;
    return `(${parameters.map(({ name, type }) => `${name}: ${typeText(type)}`).join(', ')}) => ${typeText(type)}`;
  }
  return `{ ${children.map(({ name, type }) => `${name}: ${typeText(type)}`).join('; ')} }`;
}

/** The properties of a parameter's type, with what the op's docstring says of them before what the interface says. */
export function propertiesOf(
  type: Type | undefined,
  byId: ReadonlyMap<number, Declaration>,
): { name: string; type: string; optional: boolean; text: string }[] {
  const found = new Map<string, { name: string; type: string; optional: boolean; text: string }>();
  const seen = new Set<Declaration>();
  const visit = (part: Type | undefined) => {
    if (part?.type === 'intersection') part.types!.forEach(visit);
    const declaration = typeof part?.target === 'number' ? byId.get(part.target) : part?.declaration;
    if (declaration === undefined || seen.has(declaration)) return;
    seen.add(declaration);
    for (const child of declaration.children ?? []) {
      if (child.name.startsWith('__') || found.has(child.name)) continue;
      found.set(child.name, {
        name: child.name,
        type: typeText(child.type),
        optional: child.flags.isOptional === true,
        text: textOf(part?.highlightedProperties?.[child.name] ?? child.comment?.summary),
      });
    }
    visit(declaration.type);
  };
  visit(type);
  return [...found.values()];
}

/** Every declaration of the JSON by its number. */
export function index(root: Declaration): Map<number, Declaration> {
  const byId = new Map<number, Declaration>();
  const visit = (declaration: Declaration) => {
    byId.set(declaration.id, declaration);
    declaration.children?.forEach(visit);
  };
  visit(root);
  return byId;
}
