/** A login page that goes wherever its parameter says. */

export {};

location.replace(new URLSearchParams(location.search).get('next') ?? '/public/blank.ts');
