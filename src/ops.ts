export * from './attention';
export * from './linear';
export * from './moe';
export * from './nn';
export * from './sparse';
export * from './ssm';
